"""From a command line to runs: what is merged, what is declared, what is refused and how."""

import re
import shutil
import sys

import pytest

from batchnorm import config
from batchnorm.config import ConfigError
from batchnorm.data import DataError
from batchnorm.experiment import plan
from batchnorm.record import differences, load
from conftest import cannot_compile, real_data_root

EXPERIMENT = "experiment=cifar10_learning_rate"
SMOKE = [EXPERIMENT, "scale=smoke", "stand_in=always"]
RECORDS = config.CONFIGS.parent / "results" / "records"


def planned(*overrides: str):
    return plan([*SMOKE, "output=/nonexistent", *overrides])


def test_an_experiment_expands_to_arms_times_seeds():
    runs = planned().runs
    arms = [
        "baseline",
        "baseline_x5",
        "baseline_x30",
        "baseline_sigmoid",
        "bn_baseline",
        "bn_x5",
        "bn_x30",
        "bn_x5_sigmoid",
    ]
    assert [(run.arm, run.seed) for run in runs] == [(arm, seed) for arm in arms for seed in (0, 1)]


def changed(arm: str) -> dict:
    from batchnorm.record import flatten

    base, other = (planned(f"arm={a}", "seed=0").runs[0].config() for a in ("baseline", arm))
    base, other = dict(flatten(base)), dict(flatten(other))
    return {key: other[key] for key in base if base[key] != other[key] and key != "arm"}


def test_arms_differ_in_what_they_declare_and_in_nothing_else():
    accelerated = {
        "model.norm": "batch",
        "model.dropout": 0.0,
        "optim.weight_decay_multiplier": 0.2,
        "optim.decay_speed": 6.0,
    }
    assert changed("baseline") == {}
    assert changed("baseline_x5") == {"optim.lr_multiplier": 5.0}
    assert changed("baseline_x30") == {"optim.lr_multiplier": 30.0}
    assert changed("baseline_sigmoid") == {"model.activation": "sigmoid"}
    assert changed("bn_baseline") == {"model.norm": "batch"}
    assert changed("bn_x5") == {**accelerated, "optim.lr_multiplier": 5.0}
    assert changed("bn_x30") == {**accelerated, "optim.lr_multiplier": 30.0}
    assert changed("bn_x5_sigmoid") == {**changed("bn_x5"), "model.activation": "sigmoid"}


def test_a_ladder_puts_every_arm_on_each_of_its_values():
    ladder = ["+ladder={optim.lr: [0.1, 0.2]}", "seed=0"]
    runs = {run.arm: run for run in planned(*ladder).runs}
    assert len(runs) == 2 * 8
    assert (runs["bn_x5_0.1"].optim.lr, runs["bn_x5_0.2"].optim.lr) == (0.1, 0.2)
    assert runs["bn_x5_0.2"].optim.lr_multiplier == 5, "what the arm changes stays"
    assert runs["baseline_0.2"].model.norm == "none", "one arm's ladder is not another's"
    assert [run.arm for run in planned(*ladder, "arm=baseline_0.1").runs] == ["baseline_0.1"]


@pytest.mark.parametrize(
    "ladder, why",
    [
        ("{optim.lr: 3}", "one key and a list of its values"),
        ("{optim.lr: [0.1], model.depth: [2]}", "one key and a list of its values"),
        ("{optim.lrr: [0.1]}", "optim.lrr: no such key"),
        ("{optim.lr: [0.1, 0.10]}", "must be of different values"),
        ("{optim.lr: [fast]}", "'fast' of type 'str' could not be converted to Float"),
    ],
)
def test_a_ladder_that_cannot_be_climbed_is_refused(ladder, why):
    with pytest.raises(ConfigError, match=re.escape(why)):
        planned(f"+ladder={ladder}")


@pytest.mark.parametrize("said", ["+optim.lrr=3", "++optim.lrr=3", "+lrr=3", "+optimm.lr=3"])
def test_a_plus_does_not_make_a_key_that_nothing_reads(said):
    with pytest.raises(ConfigError, match=rf"^{said.strip('+').split('=')[0]}: no such key; allow"):
        planned(said)


@pytest.mark.parametrize(
    "wrong, why",
    [
        ("arms: [plain, bn]", "arms, ladder, scales must be keys and values, not a list"),
        ("arms: {1: {}}", "arms.1: Key 1 (int) is incompatible with (str)"),
        ("model: batch", "Merge error: str is not a subclass of Model"),
    ],
)
def test_an_experiments_file_of_another_form_is_refused(wrong, why, tmp_path, monkeypatch):
    shutil.copytree(config.CONFIGS, tmp_path / "configs")
    monkeypatch.setattr(config, "CONFIGS", tmp_path / "configs")
    head = "# @package _global_\nname: mine\ndefaults: [{override /data: cifar10}]\n"
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text(head + wrong)
    with pytest.raises(ConfigError, match=re.escape(why)):
        config.compose_config(["experiment=mine"])


@pytest.mark.parametrize("said", ["ladder={optim.lr: [1]}", "arms={mine: {}}"])
def test_what_is_added_to_the_experiment_is_said_with_a_plus(said):
    key = said.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{key}: what is not in it yet is added by \+{key}="):
        planned(said)


def test_the_command_line_has_the_last_word():
    run = planned("arm=bn_x5", "seed=7", "optim.lr_multiplier=2", "optim.epochs=9").runs[0]
    assert (run.optim.lr_multiplier, run.optim.epochs, run.seed) == (2.0, 9.0, 7)
    assert run.model.norm == "batch"


def test_naming_the_group_that_is_the_default_changes_nothing():
    assert planned("model=convnet", "data=cifar10", "optim=sgd") == planned()


def test_long_changes_still_make_a_folder():
    many = [f"+arms.mine.optim.{key}=0.123456789" for key in ("lr", "momentum", "weight_decay")]
    made = planned(
        *many,
        "arm=mine",
        "optim.weight_decay_multiplier=0.123456789",
        "model.width=7",
        "model.depth=11",
    )
    assert len(made.root.name) < 200


def test_the_precision_study_has_the_arms_of_the_study_that_it_is_paired_with():
    single, half = (
        {
            run.name: run.config()
            for run in plan([f"experiment={name}", *SMOKE[1:], "output=/x"]).runs
        }
        for name in ("cifar10_precision", "cifar10_learning_rate")
    )
    for name, config_ in single.items():
        changed = differences(half[name], config_)
        assert [line.split(":")[0] for line in changed] == ["experiment", "precision"]


def test_scales_say_how_much():
    quick, full = (
        plan([EXPERIMENT, f"scale={s}", "stand_in=always", "output=/x"]).runs
        for s in ("quick", "full")
    )
    assert {run.seed for run in quick} == {0, 1, 2}
    assert {run.seed for run in full} == {0, 1, 2, 3, 4}
    assert full[0].optim.epochs > quick[0].optim.epochs


def test_declared_runs_and_runs_of_ones_own_are_kept_apart():
    assert planned().root.as_posix() == "/nonexistent/stand-in"
    own = planned("optim.lr=0.5", "model.width=3").root
    assert own.as_posix() == "/nonexistent/stand-in/scratch/model.width=3,optim.lr=0.5"
    same = planned("optim.momentum=0.9", "arm=bn_x5", "seed=0", "device=cpu", "wandb=disabled")
    assert same.root == planned().root, "said, but what the file says too"


def test_real_data_have_the_root_to_themselves():
    real = [EXPERIMENT, "scale=smoke", "stand_in=never", f"data_root={real_data_root()}"]
    assert plan([*real, "output=/x"]).root.as_posix() == "/x"
    with pytest.raises(DataError, match="is not in /dev/null/nowhere"):
        plan([*real[:3], "data_root=/dev/null/nowhere", "output=/x"])


REFUSED = {
    "optim.lrr=1": ["optim.lrr", "no such key", "lr_multiplier"],
    "lr=1": ["lr", "no such key", "optim"],
    "optim.lr=fast": ["optim.lr", "fast", "Float"],
    "data.batch_size=1.5": ["data.batch_size", "1.5", "Integer"],
    "optim.lr_multiplier=-1": ["optim.lr_multiplier=-1", "above 0"],
    "optim.lr=nan": ["optim.lr=nan", "0 or above"],
    "data.batch_size=1": ["data.batch_size=1", "2 or more", "norm=batch"],
    "data.batch_size=0": ["data.batch_size=0", "from 1"],
    "data.batch_size=100000": ["data.batch_size=100000", "at most", "train_images"],
    "seeds=[]": ["seeds=[]", "at least one"],
    "seeds=[1,1]": ["seeds=[1, 1]", "different"],
    "seed=-1": ["seed=-1", "from 0"],
    "seed=x": ["seed", "x", "Integer"],
    "arm=bn_x7": ["arm=bn_x7", "one of", "bn_x30"],
    "scale=huge": ["scale=huge", "smoke, quick, full"],
    "experiment=nothing": ["experiment=nothing", "one of", "cifar10_learning_rate"],
    "model=nothing": ["model=nothing", "one of", "convnet"],
    "model.norm=bach": ["model.norm=bach", "one of", "batch"],
    "model.activation=softmax": ["model.activation=softmax", "relu, sigmoid, tanh"],
    "model.init=warm": ["model.init=warm", "he, glorot, gaussian, orthogonal"],
    "model.gamma=0": ["model.gamma=0", "above 0"],
    "model.gamma=2": ["model.gamma=2", "1 with model.norm=none", "baseline"],
    "model.time_steps=8": ["model.time_steps=8", "0 with model.name=convnet"],
    "optim.name=adam": ["optim.name=adam", "sgd, rmsprop"],
    "optim.clip=-1": ["optim.clip=-1", "0 or above"],
    "data.permuted=true": ["data.permuted=True", "data.augment"],
    "model.name=other": ["model.name=other", "convnet"],
    "model.depth=4": ["model.depth=4", "from 5"],
    "model.width=0": ["model.width=0", "from 1"],
    "model.dropout=1": ["model.dropout=1", "below 1"],
    "model.init_scale=0": ["model.init_scale=0", "above 0"],
    "optim.momentum=1": ["optim.momentum=1", "below 1"],
    "optim.weight_decay=-1": ["optim.weight_decay=-1", "0 or above"],
    "optim.epochs=0": ["optim.epochs=0", "above 0"],
    "optim.epochs_multiplier=0": ["optim.epochs_multiplier=0", "above 0"],
    "model.norm_after=maybe": ["model.norm_after", "maybe", "bool"],
    "model.lrn=maybe": ["model.lrn", "maybe", "bool"],
    "data.fixed_batches=maybe": ["data.fixed_batches", "maybe", "bool"],
    "data.random_labels=maybe": ["data.random_labels", "maybe", "bool"],
    "model.norm=batch_detach": ["model.norm=batch_detach", "batch_detached", "batch_no_affine"],
    "optim.final_lr=2": ["optim.final_lr=2", "at most 1"],
    "evaluations=0": ["evaluations=0", "from 1"],
    "precision=float16": ["precision=float16", "bfloat16"],
    "data.name=cifar11": ["data.name=cifar11", "cifar10", "image_folder"],
    "data.shards=-1": ["data.shards=-1", "from 0"],
    "data.shuffle_within=false": ["data.shuffle_within=False", "true without data.shards"],
    "data.distortion=2": ["data.distortion=2", "from 0 to 1"],
    "data.distortion=0.5": ["data.distortion=0.5", "data.name=cifar10"],
    "data.crop_size=24": ["data.crop_size=24", "data.name=cifar10"],
    "loader=magic": ["loader=magic", "auto, memory, stream"],
    "workers=-1": ["workers=-1", "from 0"],
    "data.holdout=-1": ["data.holdout=-1", "from 0"],
    "data.holdout=50000": ["data.holdout=50000", "below 50000"],
    "data.holdout=49900": ["data.train_images=512", "at most 100"],
    "data.test_images=20000": ["data.test_images=20000", "at most 10000"],
    "wandb=sometimes": ["wandb=sometimes", "offline"],
    "stand_in=maybe": ["stand_in=maybe", "never"],
    "device=tpu9": ["device=tpu9", "cpu"],
    "threads=0": ["threads=0", "from 1"],
    "arms.mine.optim.lrr=1": ["lrr", "no such key"],
    "arms.mine.seeds=[1]": ["seeds", "no such key", "arms.mine"],
    "scales.smoke.seeds=3": ["seeds=3", "list"],
    "arms.mine=[1]": ["arms.mine", "must be"],
    "optim.lr=[": ["optim.lr=["],
    "arm=[": ["arm=["],
    "arm=baseline,bn_x5": ["arm=baseline,bn_x5", "need -m"],
    "optim.lr=0.1,0.2": ["optim.lr=0.1,0.2", "need -m"],
    "data.stand_in=true": ["data.stand_in", "stand_in=always"],
    "data.holdout=60000": ["data.holdout=60000", "below 50000"],
    "device=meta": ["device=meta", "cpu"],
    "experiment=null": ["group override must be"],
    "arms.mine.evaluations=lots": ["evaluations", "lots"],
    "arms.mine.evaluations=2.5": ["evaluations", "2.5"],
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_run_is_refused_in_one_line(override):
    if override.startswith("arms."):
        override = "+" + override  # not in the file, so Hydra wants it added
    with pytest.raises((ConfigError, DataError)) as refused:
        planned(*[o for o in SMOKE if o.split("=")[0] != override.split("=")[0]], override)
    message = str(refused.value)
    assert "\n" not in message
    for part in REFUSED[override.removeprefix("+")]:
        assert part in message, message


def test_what_a_network_has_no_place_for_is_refused():
    with pytest.raises(ConfigError, match=r"model.depth=10: must be 12.*small_inception"):
        planned("model=small_inception", "model.depth=10")
    with pytest.raises(ConfigError, match=r"model.depth=4: must be a whole number from 5.*convnet"):
        planned("model.depth=4")
    for model in ("small_inception", "mlp"):
        with pytest.raises(ConfigError, match=f"model.lrn=True: must be false.*{model}"):
            planned(f"model={model}", "model.lrn=true")
    for key, value in (("separable_stem", True), ("maps_4cd", 608), ("per_activation", 2)):
        with pytest.raises(ConfigError, match=f"model.{key}={value}: must be .* model.name=mlp"):
            planned("model=mlp", f"model.{key}={str(value).lower()}")
    for wrong in ("depth=10", "maps_4cd=600", "per_activation=11", "per_activation=2"):
        with pytest.raises(ConfigError, match=f"model.{wrong}: must be"):
            planned("model=inception", "arm=baseline", f"model.{wrong}")
    both = ["model=inception", "arm=bn_baseline", "model.per_activation=2"]
    assert planned(*both).runs
    with pytest.raises(ConfigError, match=r"sync_statistics=True: must be false.*per_activation=2"):
        planned(*both, "model.sync_statistics=true")


@pytest.mark.parametrize("said", ["optim.clip=1", "optim.name=rmsprop"])
def test_shift_is_watched_of_steps_of_sgd_alone(said):
    with pytest.raises(ConfigError, match=r"must be without shift, but for optim.name=sgd"):
        plan(["experiment=cifar10_shift", "scale=smoke", "stand_in=always", "output=/x", said])


def test_what_an_lstm_cannot_be_is_refused():
    of = ["experiment=mnist_recurrent", "scale=smoke", "stand_in=always", "output=/x"]
    assert plan([*of, "model.time_steps=112"]).runs[0].model.time_steps == 112
    for wrong, why in (
        ("model.time_steps=0", "a divisor of 784"),
        ("model.time_steps=100", "a divisor of 784"),
        ("model.activation=relu", "tanh"),
        ("model.depth=3", "2 with model.name=lstm"),
        ("model.noise=true", "false"),
        ("model.norm_after=true", "false"),
        ("probes=[percentiles]", "without percentiles"),
    ):
        with pytest.raises(ConfigError, match=rf"must be {why}"):
            plan([*of, wrong])


FOLDERS = {
    "data.folder=''": ["data.folder=", "data_root"],
    "data.crop_size=4": ["data.crop_size=4", "from 8"],
    "data.image_size=100": ["data.image_size=100", "at least data.crop_size=128"],
    "data.binary=true": ["data.binary=True", "image_folder"],
    "data.augment=false": ["data.distortion=0.5", "data.augment=false"],
}


@pytest.mark.parametrize("override", FOLDERS)
def test_what_an_image_folder_cannot_be_is_refused(override):
    with pytest.raises(ConfigError) as refused:
        planned("data=imagenette", "data.distortion=0.5", override)
    assert "\n" not in str(refused.value)
    for part in FOLDERS[override]:
        assert part in str(refused.value)


def test_probes_that_would_be_wrong_are_refused(monkeypatch):
    perceptron = ("model=mlp", "probes=[jacobians]", "model.norm=batch", "arm=bn_x5")
    planned(*perceptron)
    with pytest.raises(
        ConfigError, match=r"model.norm_after=True: must be false with probes=jacob"
    ):
        planned(*perceptron, "model.norm_after=true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"^device=cuda:0: must be cuda, of which each process"):
        planned("arm=bn_x5", "seed=0", "device=cuda:0")
    with pytest.raises(ConfigError, match=r"^probes: must be without norms in several processes"):
        planned("probes=[norms]")
    with pytest.raises(ConfigError, match=r"^probes: must be without inference in several"):
        planned("probes=[inference]")


def test_compiling_without_a_compiler_is_refused_before_training(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not planned("arm=bn_x5", "seed=0", "device=cpu").cfg.compile
    with pytest.raises(ConfigError, match=r"^compile=True: must be false, since there"):
        planned("arm=bn_x5", "seed=0", "device=cpu", "compile=true")
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/no/headers")
    with pytest.raises(ConfigError, match=r"there is no /no/headers/Python.h$"):
        planned("arm=bn_x5", "seed=0", "device=cpu", "compile=true")


@pytest.mark.skipif(bool(cannot_compile("cpu")), reason=cannot_compile("cpu"))
def test_compiled_statistics_are_of_each_process_alone(monkeypatch):
    """Each synchronised layer would cut the network in two."""
    asked = ["arm=bn_x5", "seed=0", "device=cpu", "compile=true", "model.sync_statistics=true"]
    assert planned(*asked).cfg.compile, "one process has nothing to synchronise"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert planned(*asked[:-1]).cfg.compile
    with pytest.raises(ConfigError, match=r"^compile=True: must be false with model.sync_stat"):
        planned(*asked)


def test_statistics_can_be_synchronised_in_all_arms_at_once():
    assert all(run.model.sync_statistics for run in planned("model.sync_statistics=true").runs)
    with pytest.raises(ConfigError, match=r"model.sync_statistics=True: must be false with"):
        planned("model.sync_statistics=true", "model.norm=batch_detached")


def test_seeds_that_would_be_those_of_another_member_are_refused():
    planned("seeds=[0,1000]")
    with pytest.raises(ConfigError, match=r"^seed=1000: must be below 1000 with own_draws"):
        planned("seeds=[0,1000]", "own_draws=1")


@pytest.mark.parametrize(
    "text, why",
    [
        ("name: mine\narms: {a: {}}\nseeds: [5, 6]", None),
        ("name: mine", r"^arms: must name at least one"),
        ("arms: {a: {}}", r"^name: must be said"),
        ("name: [", r"^a file of configs/: "),
        ("name: mine\nname: mine", r"^a file of configs/: "),
    ],
)
def test_an_experiment_file_of_ones_own(text, why, tmp_path, monkeypatch):
    shutil.copytree(config.CONFIGS, tmp_path / "configs")
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    monkeypatch.setattr(config, "CONFIGS", tmp_path / "configs")
    mine = ["experiment=mine", "scale=smoke", "stand_in=always", "output=/x", f"cache={tmp_path}"]
    if why is None:
        assert [run.seed for run in plan(mine).runs] == [5, 6], "the file's, not the scale's"
        assert [run.seed for run in plan([*mine, "seeds=[7]"]).runs] == [7]
    else:
        with pytest.raises(ConfigError, match=why) as refused:
            plan(mine)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["name: mine", "defaults: [override /model: mlp]\nname: mine"])
def test_an_experiment_file_says_that_it_is_no_group_of_its_own(text, tmp_path, monkeypatch):
    shutil.copytree(config.CONFIGS, tmp_path / "configs")
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text(f"{text}\narms: {{a: {{}}}}\n")
    monkeypatch.setattr(config, "CONFIGS", tmp_path / "configs")
    with pytest.raises(ConfigError, match=r'^experiment: its file must begin with .*_global_"$'):
        plan(["experiment=mine", "scale=smoke", "stand_in=always", "output=/x"])


def test_what_says_where_a_run_is_made_is_no_departure():
    assert config.departures(["experiment=mnist", "device=cpu", "loader=stream", "seeds=[3]"]) == []
    assert config.departures(["cache=/x", "precision=float32"]) == ["precision=float32"]


def test_stand_in_images_are_counted_without_being_made(monkeypatch):
    monkeypatch.setattr("batchnorm.data.standin.stand_in", lambda name: 1 / 0)
    planned("data.train_images=50000", "data.test_images=10000")
    with pytest.raises(DataError, match=r"^data.train_images=50001: must be at most 50000$"):
        planned("data.train_images=50001")


def test_data_that_an_override_replaces_are_not_looked_for(monkeypatch, tmp_path):
    asked = []
    there = lambda *where: asked.append(where[0]) or ""  # noqa: E731
    monkeypatch.setattr("batchnorm.experiment.unavailable", there)
    monkeypatch.setattr("batchnorm.data.refuse_sizes", lambda config, root: None)
    plan([EXPERIMENT, "scale=smoke", "data=mnist", f"data_root={tmp_path}", "output=/x"])
    assert set(asked) == {"mnist"}


def test_both_image_folders_can_be_planned():
    for name, images in (("imagenette", 9469), ("imagenet", 1_281_167)):
        made = plan([EXPERIMENT, f"data={name}", "stand_in=always", "output=/x"]).runs[0]
        assert (made.data.name, made.data.train_images) == ("image_folder", images)


def test_a_key_that_has_come_since_is_at_what_was_done_before():
    now = planned("arm=bn_x5", "seed=0").runs[0].config()
    old = {**now, "data": dict(now["data"]), "model": dict(now["model"]), "optim": now["optim"]}
    since = {
        "data": ("fixed_batches", "random_labels"),
        "model": ("norm_after", "lrn", "sync_statistics"),
    }
    later = {"separable_stem": False, "maps_4cd": 576, "per_activation": 0}
    old["optim"] = {k: v for k, v in now["optim"].items() if k != "epochs_multiplier"}
    for group, keys in since.items():
        for key in keys:
            assert old[group].pop(key) is False
    images = {"shards": 0, "shuffle_within": True, "folder": "", "image_size": 0, "crop_size": 0}
    for key, before in {**images, "distortion": 0.0}.items():
        assert old["data"].pop(key) == before
    for key, usual in later.items():
        assert old["model"].pop(key) == usual
    assert config.completed(old) == now


def test_a_typo_in_the_last_arm_is_found_before_the_first_trains():
    with pytest.raises(ConfigError, match=r"model.nrom: no such key.*bn_late"):
        planned("+arms.bn_late.model.nrom=batch")


def test_names_that_would_lose_or_mix_records_are_refused():
    said = ["experiment=cifar10_learning_rate", "scale=smoke"]
    for arm in ("a/b", "", "..", "a,b", "k=v", "a b", "-m"):
        cfg = config.compose_config(said)
        cfg.arms = {arm: {}}
        with pytest.raises(ConfigError, match="must be a name of letters, digits"):
            config.expand(cfg, said)
    cfg = config.compose_config(said)
    cfg.name = "mnist"
    with pytest.raises(ConfigError, match=r"name: must be cifar10_learning_rate, .* not mnist"):
        config.expand(cfg, said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("experiment=cifar10_tune", "optim.lr=0.5"), "one network of the arms lr_0.005 and lr_"),
        ((EXPERIMENT, "model.norm=batch"), "one network of the arms baseline and bn_baseline"),
        ((EXPERIMENT, "experiment=mnist"), "experiment: is said twice"),
        ((EXPERIMENT, "output="), "output=: must name a folder"),
        ((EXPERIMENT, "data_root="), "data_root=: must name a folder"),
        ((EXPERIMENT, "seeds=3"), r"seeds: must be a list, such as \[0,1\]"),
        ((EXPERIMENT, "hydra.launcher.njobs=2"), "no such key of Hydra's .*n_jobs"),
    ],
)
def test_what_makes_no_sense_of_the_whole_is_refused(said, why):
    with pytest.raises(ConfigError, match=why) as refused:
        plan(["scale=smoke", "stand_in=always", "output=/nonexistent", *said])
    assert "\n" not in str(refused.value)


def test_one_arm_of_those_that_become_alike_can_be_asked_for():
    (run,) = planned("arm=baseline", "seed=0", "model.norm=batch").runs
    assert run.model.norm == "batch"


def test_an_image_folder_that_is_named_has_to_be_there(tmp_path):
    said = ["experiment=imagenette", "data.folder=nope", f"data_root={tmp_path}"]
    with pytest.raises(ConfigError, match=r"data.folder=nope: .*; or say stand_in=always"):
        plan(said)
    assert plan([*said, "stand_in=always", "output=/nonexistent"]).cfg.stand_in == "always"


def test_an_arm_is_told_the_keys_that_arms_have():
    cfg = config.compose_config([EXPERIMENT, "scale=smoke"])
    cfg.arms = {"mine": {"seed": 3}}
    with pytest.raises(ConfigError, match=r"seed: no such key; allowed: data, model") as refused:
        config.expand(cfg, [EXPERIMENT])
    assert "seeds" not in str(refused.value)


@pytest.mark.parametrize("name", config.options("experiment"))
def test_every_experiment_file_expands_at_every_scale(name):
    said = [f"experiment={name}", "stand_in=always", "output=/x", "seed=0"]
    scales = config.compose_config(said[:1]).scales
    assert {"smoke", "full"} <= set(scales)
    for scale in scales:
        made = plan([*said, f"scale={scale}"])
        assert made.cfg.name == name
        assert made.runs


@pytest.mark.parametrize("folder", sorted(RECORDS.glob("*/*")), ids=lambda path: path.name)
def test_every_experiment_file_declares_the_runs_of_its_committed_records(folder):
    """Of one seed, in which alone the others' configs differ."""
    said = [f"experiment={folder.name}", f"scale={folder.parent.name}", "stand_in=always"]
    declared = {run.name: run.config() for run in plan([*said, "seed=0", "output=/x"]).runs}
    for path in folder.glob("*-0.json"):
        made = config.completed(load(path)["config"])
        made["data"]["stand_in"] = True
        assert differences(made, declared[path.stem]) == []
