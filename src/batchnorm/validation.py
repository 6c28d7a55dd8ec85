"""What runs cannot be: keys with the values that are allowed, and which go together."""

from collections.abc import Callable
from typing import Any

from batchnorm import data, replicas
from batchnorm.config import DRAWS, ConfigError, Data, Model, Run
from batchnorm.data import standin
from batchnorm.layers import HAVE_GAMMA, NORMS
from batchnorm.models import ACTIVATIONS, INITS, MODELS
from batchnorm.probes import PROBES

CHOICES = {
    "precision": ("auto", "float32", "bfloat16"),
    "data.name": data.NAMES,
    "model.name": MODELS,
    "model.norm": NORMS,
    "model.activation": ACTIVATIONS,
    "model.init": INITS,
    "optim.name": ("sgd", "rmsprop"),
    "probes": PROBES,
}

Check = tuple[str, Callable[[Any], bool], str]
CHECKS: list[Check] = [
    ("evaluations", lambda v: 1 <= v <= 10**5, "a whole number from 1 to 100,000"),
    ("own_draws", lambda v: v >= 0, "a whole number from 0"),
    ("data.train_images", lambda v: v >= 1, "a whole number from 1"),
    ("data.test_images", lambda v: v >= 1, "a whole number from 1"),
    ("data.holdout", lambda v: v >= 0, "a whole number from 0"),
    ("data.batch_size", lambda v: v >= 1, "a whole number from 1"),
    ("data.shards", lambda v: v >= 0, "a whole number from 0"),
    ("data.distortion", lambda v: 0 <= v <= 1, "from 0 to 1"),
    ("model.dropout", lambda v: 0 <= v < 1, "from 0 to below 1"),
    ("model.init_scale", lambda v: 0 < v < float("inf"), "above 0"),
    ("model.gamma", lambda v: 0 < v < float("inf"), "above 0"),
    ("model.width", lambda v: v >= 1, "a whole number from 1"),
    ("model.depth", lambda v: v >= 2, "a whole number from 2"),
    ("optim.lr", lambda v: 0 <= v < float("inf"), "0 or above"),
    ("optim.lr_multiplier", lambda v: 0 < v < float("inf"), "above 0"),
    ("optim.momentum", lambda v: 0 <= v < 1, "from 0 to below 1"),
    ("optim.weight_decay", lambda v: 0 <= v < float("inf"), "0 or above"),
    ("optim.weight_decay_multiplier", lambda v: 0 <= v < float("inf"), "0 or above"),
    ("optim.clip", lambda v: 0 <= v < float("inf"), "0 or above"),
    ("optim.epochs", lambda v: 0 < v <= 10**6, "above 0, at most a million"),
    ("optim.epochs_multiplier", lambda v: 0 < v <= 10**6, "above 0, at most a million"),
    ("optim.final_lr", lambda v: 0 < v <= 1, "above 0, at most 1"),
    ("optim.decay_speed", lambda v: 0 <= v < float("inf"), "0 or above"),
]


def validate(run: Run) -> None:
    """Refuse a run that cannot be made. Raises ConfigError with the key and what is allowed."""

    def value(key: str) -> Any:
        found: Any = run
        for part in key.split("."):
            found = getattr(found, part)
        return found

    def refuse(key: str, allowed: str) -> None:
        raise ConfigError(f"{key}={value(key)}: must be {allowed} (in arm {run.arm})")

    for key, allowed in CHOICES.items():
        named = value(key) if isinstance(value(key), list) else [value(key)]
        if any(one not in allowed for one in named):
            refuse(key, f"{'of' if key == 'probes' else 'one of'} {', '.join(allowed)}")
    if run.own_draws and run.seed >= DRAWS:
        refuse("seed", f"below {DRAWS} with own_draws, which would be another member's otherwise")
    if "jacobians" in run.probes and run.model.name != "mlp":
        refuse("probes", f"without jacobians for model.name={run.model.name}")
    if "jacobians" in run.probes and run.model.norm_after:
        refuse("model.norm_after", "false with probes=jacobians")
    if "shift" in run.probes and run.model.name != "convnet":
        refuse("probes", f"without shift for model.name={run.model.name}")
    if "shift" in run.probes and (run.optim.clip or run.optim.name != "sgd"):
        refuse("probes", "without shift, but for optim.name=sgd and optim.clip=0")
    if "inference" in run.probes and run.model.norm != "none" and run.data.test_images == 1:
        refuse("data.test_images", "2 or more with probes=inference, which takes their statistics")
    if "probabilities" in run.probes and run.data.name != "image_folder":
        refuse("probes", f"without probabilities for data.name={run.data.name}")
    for key, good, allowed in CHECKS:
        if not good(value(key)):
            refuse(key, allowed)
    _validate_model(run.model, refuse)
    _validate_recurrent(run, refuse)
    if run.model.sync_statistics and run.model.norm not in ("batch", "none"):
        refuse("model.sync_statistics", f"false with model.norm={run.model.norm}")
    if run.model.sync_statistics and run.model.per_activation:
        refuse(
            "model.sync_statistics", f"false with model.per_activation={run.model.per_activation}"
        )
    if run.data.batch_size < 2 and run.model.norm != "none":
        refuse(
            "data.batch_size",
            f"2 or more with model.norm={run.model.norm}: a batch of one has no variance",
        )
    if not run.data.shuffle_within and not run.data.shards:
        refuse("data.shuffle_within", "true without data.shards")
    _refuse_images(run.data, refuse)
    if run.data.permuted and (run.data.augment or run.data.name == "image_folder"):
        refuse("data.permuted", "false with data.augment, and with data.name=image_folder")
    if run.data.batch_size > run.data.train_images:
        refuse("data.batch_size", f"at most data.train_images={run.data.train_images}")
    _refuse_parts(run)


def _refuse_parts(run: Run) -> None:
    """Raises ConfigError where several processes cannot do what one does."""
    size, parts = run.data.batch_size, replicas.count()
    for probe in ("norms", "inference", "shift"):
        if parts > 1 and probe in run.probes:
            raise ConfigError(f"probes: must be without {probe} in several processes")
    if size % parts:
        raise ConfigError(f"data.batch_size={size}: must be a multiple of the {parts} processes")
    if run.model.norm != "none" and not run.model.sync_statistics and size // parts < 2:
        raise ConfigError(
            f"data.batch_size={size}: must be 2 or more for each of the {parts} processes,"
            " or model.sync_statistics=true"
        )


def _refuse_images(config: Data, refuse: Callable[[str, str], None]) -> None:
    """What an image folder needs, and nothing else can use."""
    if config.name != "image_folder":
        for key, unused in (("folder", ""), ("image_size", 0), ("crop_size", 0), ("distortion", 0)):
            if getattr(config, key) != unused:
                refuse(f"data.{key}", f"{unused!r} with data.name={config.name}")
        return
    if not config.folder:
        refuse("data.folder", "the name of a folder under data_root")
    if config.crop_size < 8:
        refuse("data.crop_size", "a whole number from 8")
    if config.image_size < config.crop_size:
        refuse("data.image_size", f"at least data.crop_size={config.crop_size}")
    if config.binary:
        refuse("data.binary", "false with data.name=image_folder")
    if config.distortion and not config.augment:
        refuse("data.distortion", "0 with data.augment=false")


FIXED_DEPTHS = {"small_inception": 12, "inception": 34}  # of networks whose tables are fixed
FIXED_DEPTHS |= {"lstm": 2}


def _validate_model(model: Model, refuse: Callable[[str, str], None]) -> None:
    """What only some networks have, or can be."""
    name = f"model.name={model.name}"
    if model.name == "convnet" and model.depth < 5:
        refuse("model.depth", f"a whole number from 5 with {name}")
    if model.depth != FIXED_DEPTHS.get(model.name, model.depth):
        refuse("model.depth", f"{FIXED_DEPTHS[model.name]} with {name}, whose layers are fixed")
    if model.name not in ("convnet", "inception") and model.lrn:
        refuse("model.lrn", f"false with {name}")
    if model.gamma != 1 and model.norm not in HAVE_GAMMA:
        refuse("model.gamma", f"1 with model.norm={model.norm}")
    if model.maps_4cd not in (576, 608):
        refuse("model.maps_4cd", "576 or 608")
    if model.name == "inception":
        if not 0 <= model.per_activation <= 10:
            refuse("model.per_activation", "a whole number from 0 to 10")
        if model.per_activation and model.norm != "batch":
            refuse("model.per_activation", f"0 with model.norm={model.norm}")
        return
    for key in ("separable_stem", "maps_4cd", "per_activation"):
        usual = Model.__dataclass_fields__[key].default
        if getattr(model, key) != usual:
            refuse(f"model.{key}", f"{str(usual).lower()} with {name}")


def _validate_recurrent(run: Run, refuse: Callable[[str, str], None]) -> None:
    """What an LSTM needs, or cannot have, and what only it has."""
    model, name = run.model, f"model.name={run.model.name}"
    if model.name != "lstm":
        if model.time_steps:
            refuse("model.time_steps", f"0 with {name}")
        return
    *_, side, channels = standin.SIZES.get(run.data.name, (run.data.crop_size, 3))
    values = side * side * channels
    if model.time_steps < 1 or values % model.time_steps:
        refuse("model.time_steps", f"a divisor of {values}, the values of an image, with {name}")
    if "percentiles" in run.probes:
        refuse("probes", f"without percentiles for {name}")
    if model.activation != "tanh":
        refuse("model.activation", f"tanh with {name}")
    for key in ("noise", "norm_after"):
        if getattr(model, key):
            refuse(f"model.{key}", f"false with {name}")
