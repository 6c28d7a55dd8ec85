"""What an experiment may say: the typed schema, and the expansion of an experiment into runs."""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    ConfigTypeError,
    KeyValidationError,
    OmegaConfBaseException,
    ValidationError,
)

DATA_ROOT = "data"  # by default, and then made if need be
DRAWS = 1000  # seeds that members of an ensemble are apart
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class ConfigError(Exception):
    """A configuration that cannot be run; the message is one line: the key and what is allowed."""


@dataclass
class Data:
    """Which images a run sees, and in which batches."""

    name: str = MISSING
    stand_in: bool = False  # True: a generated set in the real one's place (never set by hand)
    train_images: int | None = 50_000  # from the front of the training set; null: all
    test_images: int | None = 10_000  # from the front of what is evaluated on; null: all
    holdout: int = 0  # > 0: evaluate on this many images cut from the training set's end
    augment: bool = False
    binary: bool = False  # pixels are 0 or 1, cut at half their range
    batch_size: int = MISSING
    fixed_batches: bool = False  # the same images share a batch in every epoch; its order is new
    random_labels: bool = False  # of the training images: drawn once, whatever they show
    permuted: bool = False  # the pixels of all images, in one random order, the same in every run
    shards: int = 0  # > 0: cut once into so many, which come in a new order each epoch
    shuffle_within: bool = True  # the images of a shard anew each epoch (section 4.2.1)
    # image folders alone
    folder: str = ""  # under data_root: has train/ and val/, which have a folder for each class
    image_size: int = 0  # pixels: images are kept as squares of this side; see data.folder
    crop_size: int = 0  # pixels: the side of what the network sees
    distortion: float = 0.0  # of colours, 0 to 1 (Howard's strength); see data.photometric

    @property
    def split(self) -> str:
        """What a run is evaluated on: the first part of its metrics' names."""
        return "validation" if self.holdout else "test"


@dataclass
class Model:
    """The network."""

    name: str = MISSING
    norm: str = "none"
    norm_after: bool = False  # of the nonlinearity, which it precedes in the paper
    sync_statistics: bool = False  # BN over the batches of all processes; false: each by its own
    lrn: bool = False  # Local Response Normalization, twice early in the network
    gamma: float = 1.0  # that BN starts with
    noise: bool = False  # in training, before each nonlinearity: see layers.ShiftNoise
    activation: str = "relu"
    dropout: float = 0.0  # the probability of dropping a unit
    init: str = "he"
    init_scale: float = 1.0  # multiplies every initial weight
    width: int = MISSING
    depth: int = MISSING
    separable_stem: bool = False  # of Inception: its first convolution
    maps_4cd: int = 576  # of Inception's rows 4c and 4d; or 608, as their branches add up
    per_activation: int = 0  # so many of Inception's last modules have BN per activation
    time_steps: int = 0  # in how many equal parts an LSTM reads the values of an image


@dataclass
class Optim:
    """How weights are changed; the rate decays exponentially from lr * lr_multiplier."""

    name: str = "sgd"  # or rmsprop: by gradients over the root of their mean square
    lr: float = MISSING
    lr_multiplier: float = 1.0  # the paper's "x5", "x30"
    momentum: float = 0.0
    weight_decay: float = 0.0  # the L2 penalty, on weights only
    weight_decay_multiplier: float = 1.0
    clip: float = 0.0  # > 0: the largest norm of all gradients together
    epochs: float = MISSING
    epochs_multiplier: float = 1.0  # for equal steps at another batch size, or a longer run
    final_lr: float = MISSING  # of the initial rate, at the end of the run, at decay_speed 1
    decay_speed: float = 1.0  # 6: the rate has fallen to final_lr after a sixth of the run


@dataclass
class What:
    """What a run is, but for its seed: what arms, scales and the command line may change."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optim: Optim = field(default_factory=Optim)
    precision: str = "auto"  # float32, bfloat16; auto: bfloat16 where the device is fast at it
    evaluations: int = 1  # per run, more often early on
    probes: list[str] = field(default_factory=list)  # what is watched at each of them
    own_draws: int = 0  # > 0: random numbers of its own at each seed, as a member of an ensemble


@dataclass
class Config(What):
    """One experiment, and where and how to run it."""

    name: str = MISSING
    arms: dict[str, Any] = field(default_factory=dict)  # name -> what it changes
    ladder: dict[str, Any] = field(default_factory=dict)  # a key: values, for every arm in turn
    scales: dict[str, Any] = field(default_factory=dict)  # smoke, quick, full -> what it changes
    seeds: list[int] = field(default_factory=list)
    # which part of it to run
    scale: str = "auto"  # auto: quick on a CPU, if the experiment has it; else full
    arm: str | None = None
    seed: int | None = None
    # where and how; no part of what a run is
    device: str = "auto"
    threads: int | None = None  # torch's, per run; null: all cores, shared between runs
    compile: bool = False  # torch.compile, on a GPU with CUDA graphs; alone, not in stacks
    data_root: str = MISSING
    cache: str = "outputs/cache"  # image folders, decoded once: a folder on a fast disk
    loader: str = "auto"  # memory, stream; auto: memory where the decoded images fit
    workers: int | None = None  # processes that decode while streaming; null: one a core, up to 32
    stand_in: str = "auto"  # always, never; auto: only where the data are not to be had
    output: str = "outputs"
    wandb: str = "auto"  # online, offline, disabled; auto: online when logged in


@dataclass(frozen=True)
class Run:
    """One training run: everything that decides its outcome, and nothing else. (What precision
    `auto` comes to, the device decides: see record.as_made.)"""

    experiment: str
    arm: str
    seed: int
    scale: str
    precision: str
    evaluations: int
    probes: list[str]
    data: Data
    model: Model
    optim: Optim
    own_draws: int = 0

    @property
    def draws(self) -> int:
        """The seed of all that is random in the run: arms at one seed draw the same, but for those
        with draws of their own."""
        return self.seed + DRAWS * self.own_draws

    def config(self) -> dict[str, Any]:
        """As plain values: what a record stores and compares."""
        return asdict(self)

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"


ConfigStore.instance().store("schema", Config)

SEEDS = 2**32  # larger ones would share streams with smaller: see seeds.stream
WHAT = tuple(one.name for one in fields(What))
OPEN = ("arms", "ladder", "scales")  # which have keys of one's own
DECLARED = (*WHAT, "name", *OPEN)  # what an experiment's file says
GROUPS = {"": Config, "data": Data, "model": Model, "optim": Optim}
# Which part of it to run, where and how: no part of what a run is.
NEUTRAL = {"experiment", *(one.name for one in fields(Config))} - {*DECLARED}


def compose_config(overrides: list[str]) -> DictConfig:
    """configs/config.yaml with Hydra overrides applied. Raises ConfigError."""
    try:
        if GlobalHydra.instance().is_initialized():  # inside a job of a sweep
            return compose("config", overrides)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("config", overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(explain(error)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"a file of configs/: {' '.join(str(error).split())}") from error


def expand(cfg: DictConfig, overrides: list[str]) -> list[Run]:
    """The runs of an experiment, arms x seeds, in the order of the file.

    Merges base, scale, arm and, last, what the user said. Raises ConfigError for anything that
    cannot be run, before the first run trains.
    """
    scale = one_of("scale", cfg.scale, cfg.scales)
    _refuse_no_mapping(f"scales.{scale}", cfg.scales[scale])
    chosen = said(overrides)
    own = "seeds" in chosen or cfg.seeds  # the user's, or the experiment file's; else the scale's
    seeds = cfg.seeds if own else cfg.scales[scale].get("seeds", cfg.seeds)
    if not isinstance(seeds, ListConfig) or not all(isinstance(seed, int) for seed in seeds):
        raise ConfigError(f"seeds={seeds}: must be a list of whole numbers, such as [0,1,2]")
    if not seeds:
        raise ConfigError(
            f"seeds=[]: must name at least one seed, such as [0,1,2], in scales.{scale} of the file"
            " or on the command line"
        )
    if len(set(seeds)) < len(seeds) or not 0 <= min(seeds) <= max(seeds) < SEEDS:
        raise ConfigError(
            f"seeds={list(seeds)}: must be different whole numbers from 0, below 2^32"
        )
    arms = laddered(cfg)
    if not arms:
        raise ConfigError("arms: must name at least one, each with what it changes, or {}")
    if OmegaConf.is_missing(cfg, "name"):
        raise ConfigError("name: must be said, the same as the experiment's file")
    files = [one.value() for one in parse(overrides) if one.key_or_group == "experiment"]
    if len(set(files)) > 1:
        raise ConfigError(f"experiment: is said twice, {' and '.join(map(str, files))}")
    if files and "name" not in chosen and cfg.name != files[0]:
        raise ConfigError(f"name: must be {files[0]}, as the experiment's file, not {cfg.name}")
    for key, name in (("name", cfg.name), *(("arms", arm) for arm in arms)):
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
            raise ConfigError(f"{key}: {name!r} must be a name of letters, digits, _ - + and .")
    names = list(arms) if cfg.arm is None else [one_of("arm", cfg.arm, arms)]
    picked = list(seeds) if cfg.seed is None else [cfg.seed]
    if cfg.seed is not None and not 0 <= cfg.seed < SEEDS:
        raise ConfigError(f"seed={cfg.seed}: must be a whole number from 0, below 2^32")
    return [_run(cfg, scale, arm, arms[arm], s, chosen) for arm in names for s in picked]


def laddered(cfg: DictConfig) -> dict[str, Any]:
    """The arms of an experiment: name -> what it changes. With a ladder, every arm at each of its
    values, as <arm>_<value>. Raises ConfigError."""
    if not cfg.ladder:
        return dict(cfg.arms)
    found = {}
    for key, values in cfg.ladder.items():
        if not isinstance(values, ListConfig) or not values or len(cfg.ladder) > 1:
            raise ConfigError(f"ladder={cfg.ladder}: must be one key and a list of its values")
        if len(set(map(str, values))) < len(values):
            raise ConfigError(f"ladder={cfg.ladder}: must be of different values")
        for arm, part in cfg.arms.items():
            _refuse_no_mapping(f"arms.{arm}", part)
            for value in values:
                found[f"{arm}_{value}"] = one = part.copy()
                OmegaConf.update(one, key, value, force_add=True)
    return found


def _run(
    cfg: DictConfig, scale: str, arm: str, changes: Any, seed: int, chosen: dict[str, Any]
) -> Run:
    base = OmegaConf.merge(OmegaConf.structured(What), {key: cfg[key] for key in WHAT})
    parts = {f"scales.{scale}": cfg.scales[scale], f"arms.{arm}": changes}
    where = ""
    try:
        for where, part in parts.items():
            _refuse_no_mapping(where, part)
            kept = dict(part)
            if where.startswith("scales."):
                kept.pop("seeds", None)  # a scale's, not a run's: see expand
            base = OmegaConf.merge(base, kept)
        where = "the command line"
        for key, value in chosen.items():
            if key.split(".")[0] in WHAT:
                OmegaConf.update(base, key, value, merge=True)
        merged = OmegaConf.to_object(base)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{explain(error, What)} (in {where})") from error
    merged.data.stand_in = cfg.stand_in == "always"
    return Run(cfg.name, arm, seed, scale, **vars(merged))


def _refuse_no_mapping(key: str, part: object) -> None:
    if not isinstance(part, DictConfig):
        raise ConfigError(f"{key}={part}: must be keys and values, or {{}}")


def parse(overrides: list[str]) -> list[Override]:
    """Hydra's reading of the overrides. Raises ConfigError for one that cannot be read."""
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(explain(error)) from error


def said(overrides: list[str]) -> dict[str, Any]:
    """The user's overrides of single keys, as dotted key and value. Raises ConfigError for what
    cannot be said of one run."""
    found = {}
    for one in parse(overrides):
        if one.is_sweep_override():
            raise ConfigError(f"{one.input_line}: several values need -m, a sweep; see --help")
        if one.key_or_group == "data.stand_in":
            raise ConfigError("data.stand_in: is not set by hand; say stand_in=always")
        if not one.is_delete() and not (CONFIGS / one.key_or_group).is_dir():
            if not one.is_hydra_override():
                _refuse_unknown(one.key_or_group)
            found[one.key_or_group] = one.value()
    return found


def _refuse_unknown(key: str) -> None:
    """Raises ConfigError: + would add any key, which nothing reads."""
    group, _, name = key.rpartition(".")
    there = [one.name for one in fields(GROUPS[group])] if group in GROUPS else []
    if key.split(".")[0] not in OPEN and name not in there:
        raise ConfigError(no_such(key))


def departures(overrides: list[str]) -> list[str]:
    """The overrides that change what the runs are, and so make a run of the user's own."""
    kept = [o for o in parse(overrides) if o.key_or_group not in NEUTRAL]
    plain = [o for o in kept if not o.is_hydra_override()]
    return sorted(f"{o.get_key_element()}={o.get_value_element_as_str()}" for o in plain)


def options(group: str) -> list[str]:
    """The names of the files of one folder of configs/."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def completed(old: dict[str, Any]) -> dict[str, Any]:
    """The config of an older record with the keys that have come since, at their defaults: a new
    key's default is what was done before there was the key."""
    now = OmegaConf.to_container(OmegaConf.structured(What))
    groups = {key: {**value, **old[key]} for key, value in now.items() if isinstance(value, dict)}
    return {**now, **old, **groups}


def one_of(key: str, value: str, allowed: Collection[str]) -> str:
    if value not in allowed:
        raise ConfigError(f"{key}={value}: must be one of {', '.join(map(str, allowed))}")
    return value


def no_such(key: str, schema: type = Config) -> str:
    """The line that says so, and which keys there are; `schema` has those of the top."""
    group = key.rpartition(".")[0]
    if group.startswith("hydra"):
        return f"{key}: no such key of Hydra's (hydra.launcher.n_jobs: how many runs side by side)"
    keys = {**GROUPS, "": schema}
    allowed = [one.name for one in fields(keys[group])] if group in keys else ["nothing"]
    where = f" under {group}" if group else ""
    more = ["experiment"] if not group and schema is Config else []
    return f"{key}: no such key; allowed{where}: {', '.join([*allowed, *more])}"


def explain(error: Exception, schema: type = Config) -> str:
    """A Hydra or OmegaConf error as one line that names the key and what is allowed."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__ or cause.__context__
    unknown = re.match(r"Could not override '([\w.]+)'", str(error))
    if "@experiment." in str(error) or getattr(cause, "full_key", None) == "experiment":
        return 'experiment: its file must begin with the line "# @package _global_"'
    if isinstance(cause, ConfigKeyError) or unknown:
        key = unknown[1] if unknown else cause.full_key
        if key in OPEN:
            return f"{key}: what is not in it yet is added by +{key}=..."
        return no_such(key, schema)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as KEY=VALUE ({str(error).splitlines()[0]})"
    if isinstance(cause, ValidationError | ConfigTypeError | KeyValidationError):
        file = re.match(r"In '([\w/]+)'", str(error))
        why = str(cause.msg).splitlines()[0]
        if "ListConfig" in why and cause.full_key:
            why = "must be a list, such as [0,1]"
        elif "ListConfig" in why:
            why = f"{', '.join(OPEN)} must be keys and values, not a list"
        return f"{cause.full_key or (file[1] if file else 'the config')}: {why}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unknown = re.search(r"Could not find '(\w+)/(.*)'", str(error))
    if unknown:
        group, name = unknown.groups()
        if "launcher" in name:
            return f"{group}/{name}: is not installed; joblib is; on SLURM: results/imagenet.md"
        return f"{group}={name}: must be one of {', '.join(options(group))}"
    key = getattr(cause, "full_key", None)
    return f"{key}: {lines[0]}" if key and lines else lines[0] if lines else type(error).__name__
