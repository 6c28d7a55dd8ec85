"""The experiments with the paper's network: what their arms change, and nothing else."""

import pytest

from batchnorm import __main__ as cli
from batchnorm import optim, record
from batchnorm.config import ConfigError, Run
from batchnorm.experiment import plan
from batchnorm.record import flatten
from conftest import image_folder

CHANGES = {  # section 4.2.1's, but for the rate
    "model.dropout": 0.0,
    "optim.weight_decay_multiplier": 0.2,
    "optim.decay_speed": 6.0,
    "model.lrn": False,
    "data.shuffle_within": True,
    "data.distortion": 0.5,
}
BN = {"model.norm": "batch"}
SIGMOID = {"model.activation": "sigmoid"}


def runs(experiment: str, scale: str = "quick") -> dict[str, Run]:
    """The runs of one seed, by arm."""
    said = [f"experiment={experiment}", f"scale={scale}", "stand_in=always", "output=/x"]
    return {run.arm: run for run in plan([*said, "device=cpu", "seed=0"]).runs}


def changed(arm: Run, reference: Run) -> dict[str, object]:
    ours, theirs = dict(flatten(arm.config())), dict(flatten(reference.config()))
    return {key: ours[key] for key in ours if ours[key] != theirs[key] and key != "arm"}


def test_the_seven_networks_of_section_4_2_2():
    arms = runs("imagenette")
    plain = arms["inception"]
    assert (plain.model.lrn, plain.model.dropout, plain.data.shuffle_within) == (True, 0.4, False)
    rate = {name: {"optim.lr_multiplier": float(name)} for name in ("5", "30")}
    assert {name: changed(run, plain) for name, run in arms.items()} == {
        "inception": {},
        "inception_x5": rate["5"],
        "inception_sigmoid": SIGMOID,
        "bn_baseline": BN,
        "bn_x5": BN | CHANGES | rate["5"],
        "bn_x30": BN | CHANGES | rate["30"],
        "bn_x5_sigmoid": BN | CHANGES | rate["5"] | SIGMOID,
    }


def test_imagenet_has_the_same_networks_and_the_papers_steps():
    arms, small = runs("imagenet", "full"), runs("imagenette")
    lengths = ("optim.epochs_multiplier", "optim.decay_speed")
    for name, run in arms.items():
        ours, theirs = changed(run, arms["inception"]), changed(small[name], small["inception"])
        assert {k: v for k, v in ours.items() if k not in lengths} == {
            k: v for k, v in theirs.items() if k not in lengths
        }
    steps = {n: optim.steps(r.optim, 1_281_167 // 32) / 1e6 for n, r in arms.items()}
    assert steps["inception"] == pytest.approx(31.0, abs=0.1)
    assert steps["bn_baseline"] == pytest.approx(16.4, abs=0.1)
    assert steps["bn_x30"] == pytest.approx(6.7, abs=0.1)
    rates = {n: r.optim.lr * r.optim.lr_multiplier for n, r in arms.items()}
    assert (rates["inception"], rates["bn_x5"], rates["bn_x30"]) == (
        0.0015,
        pytest.approx(0.0075),
        pytest.approx(0.045),
    )


def test_each_change_can_be_taken_back_alone():
    arms, plain = runs("imagenette_changes"), runs("imagenette")["inception"]
    reference = arms.pop("bn_x5")
    assert changed(reference, runs("imagenette")["bn_x5"]) == {"experiment": "imagenette_changes"}
    assert changed(arms.pop("bn_x5_per_activation"), reference) == {
        "model.norm": "batch_per_activation"
    }
    found: dict[str, object] = {}
    for run in arms.values():
        (one,) = changed(run, reference).items()
        found |= [one]
    usual = dict(flatten(plain.config()))
    assert found == {key: usual[key] for key in (*CHANGES, "optim.lr_multiplier")}


@pytest.mark.parametrize(("name", "scale"), [("imagenette", "quick"), ("imagenet", "full")])
def test_the_members_of_the_ensemble_are_bn_x30_with_some_changes(name, scale):
    reference, seen = runs(name, scale)["bn_x30"], []
    for run in runs(f"{name}_ensemble", scale).values():
        ours = changed(run, reference)
        assert ours.pop("probes") == ["probabilities"]
        assert ours.pop("experiment") == f"{name}_ensemble"
        if scale == "quick":
            assert ours.pop("data.test_images") == 1000  # of which 144 crops are taken
        else:  # as long as the paper's, and decaying as fast per step as that BN-x30
            steps = optim.steps(run.optim, 1_281_167 // 32)
            assert steps / 1e6 == pytest.approx(6.0, abs=0.05)
            speed = ours.pop("optim.decay_speed") / ours.pop("optim.epochs_multiplier")
            assert speed == pytest.approx(6, rel=0.01)
        seen.append(ours.pop("own_draws"))
        assert ours.pop("model.dropout") in (0.05, 0.1)
        assert ours.keys() <= {"model.init_scale", "model.per_activation"}
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]


def test_the_members_are_the_same_on_imagenet():
    def own(name: str) -> dict[str, dict[str, object]]:
        arms = runs(f"{name}_ensemble", "full")
        return {arm: changed(run, arms["member_1"]) for arm, run in arms.items()}

    assert own("imagenet") == own("imagenette")


def test_the_ladder_is_the_plain_networks():
    plain = runs("imagenette")["inception"]
    for name, run in runs("imagenette_tune").items():
        ours = changed(run, plain)
        assert ours.pop("optim.lr", plain.optim.lr) == float(name.removeprefix("lr_"))
        assert ours.keys() == {"experiment", *(f"data.{key}" for key in (
            "holdout", "train_images", "test_images"))}  # fmt: skip


def test_probabilities_need_an_image_folder():
    with pytest.raises(ConfigError, match=r"without probabilities for data\.name=cifar10"):
        plan(["stand_in=always", "output=/x", "scale=smoke", "probes=[probabilities]"])


def test_a_member_of_the_ensemble_leaves_its_probabilities_beside_its_record(tmp_path, capsys):
    said = ["experiment=imagenette_ensemble", "scale=smoke", "stand_in=always", "device=cpu"]
    said += [f"output={tmp_path}", "wandb=disabled", "threads=1", "arm=member_1", "seed=0"]
    assert cli.main(said) == 0, capsys.readouterr().err
    (path,) = tmp_path.glob("stand-in/records/smoke/imagenette_ensemble/*.json")
    assert record.load_arrays(path)["crops"].shape == (64, 10)
    assert not list(tmp_path.glob("**/*.ckpt"))


def test_the_experiment_of_all_of_imagenet_trains_streamed(tmp_path, monkeypatch):
    """On a small tree: separable stem, Local Response Normalization, shards, distorted colours."""
    image_folder(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    said = ["experiment=imagenet", "arm=inception", "seed=0", "scale=smoke", "stand_in=never"]
    said += ["data.folder=pictures", "data.train_images=24", "data.test_images=12", "threads=1"]
    said += ["data.batch_size=8", "data.shards=3", "optim.epochs=1", "wandb=disabled"]
    assert (
        cli.main([*said, f"data_root={tmp_path}", "loader=stream", "workers=0", "device=cpu"]) == 0
    )
    (path,) = tmp_path.glob("outputs/**/inception-0.json")
    made = record.load(path)
    assert made["environment"]["loader"] == "stream"
    assert (made["config"]["model"]["separable_stem"], made["config"]["model"]["lrn"]) == (
        True,
    ) * 2
    assert made["metrics"]["step"][-1] == made["summary"]["steps"] == 3
