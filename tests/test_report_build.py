"""Files from records: the same bytes every time, marked, compared, and checked."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from batchnorm import record
from batchnorm.report import build, comparison, look, page, statistics, tables
from batchnorm.report.statistics import Estimate, estimate, repeat_interval
from planted import ALIKE, one_record, plant

SCRIPT = Path(__file__).parents[1] / "scripts" / "report.py"
RESULTS = Path(__file__).parents[1] / "results" / "records"


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """scripts/report.py in an empty directory: arguments -> exit status, stdout, stderr."""
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: (main(list(arguments)), *capsys.readouterr())


def test_the_same_records_give_the_same_bytes_in_the_expected_places(tmp_path, monkeypatch):
    plant(tmp_path)
    written = build.build(tmp_path)
    first = {path: path.read_bytes() for path in written}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert build.render(tmp_path) == first
    names = {str(path.relative_to(tmp_path)) for path in written}
    drawn = {f"figures/quick/cifar10_learning_rate.{kind}" for kind in ("svg", "png", "csv")}
    assert names == drawn | {
        "tables/quick/cifar10_learning_rate.md",
        "tables/quick/cifar10_learning_rate.csv",
        "claims.md",
        "claims.json",
    }
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_every_experiment_is_drawn_at_its_scale(tmp_path):
    plant(tmp_path, scale="full")
    plant(tmp_path, experiment="cifar10_precision", precision="float32", scale="full")
    plant(tmp_path, experiment="cifar10_tune", holdout=5000)
    plant(tmp_path, experiment="of_my_own")
    names = {str(path.relative_to(tmp_path)) for path in build.render(tmp_path)}
    assert {"figures/full/cifar10_precision.svg", "figures/quick/cifar10_tune.svg"} <= names
    assert not any("of_my_own" in name for name in names)


@pytest.mark.parametrize("kept", ["none", "one"])
@pytest.mark.parametrize("experiment", sorted(build.EXPERIMENTS))
def test_runs_that_overflowed_at_once_are_drawn_too(experiment, kept, tmp_path):
    """All of them, or all but one: no place in a figure, but no end of the report either."""
    scales = [one for one in ("full", "quick") if (RESULTS / one / experiment).is_dir()]
    if not scales:
        pytest.skip(f"no reference records of {experiment}")
    paths = sorted((RESULTS / scales[-1] / experiment).glob("*-0.json"))
    for i, path in enumerate(paths):
        found = record.load(path)
        if i or kept == "none":
            found["metrics"] = {}
            found["summary"] |= {"diverged": True, "diverged_at_step": 3}
        record.write(record.record_path(tmp_path, found["config"]), found)
    build.render(tmp_path)
    page.render(tmp_path)


def test_stand_in_data_are_in_every_name_and_text(tmp_path):
    plant(tmp_path, stand_in=True)
    for path, content in build.render(tmp_path, tmp_path).items():
        assert path.name.startswith("STAND-IN-")
        if path.suffix in (".md", ".txt"):
            assert b"STAND-IN DATA" in content


def test_the_table_holds_the_papers_columns_beside_ours(tmp_path):
    plant(tmp_path, noise=0)
    plant(tmp_path, {"bn_baseline": [(0, 0.1), (1, 0.3)]}, seeds=1)
    printed = tables.printed(statistics.load(tmp_path))
    numbers = printed.numbers.set_index("arm")
    row = numbers.loc["bn_x5"]
    assert row["steps"] == pytest.approx(169.23, abs=0.01)
    assert row["speed_up"] == pytest.approx(3100 / 169.23, abs=0.01)
    assert row["lr"] == pytest.approx(0.1)
    assert (row["paper_model"], row["paper_steps"]) == ("BN-x5", 2.1)
    assert row["paper_speed_up"] == pytest.approx(31 / 2.1)
    assert numbers.loc["baseline_x30", "diverged"] == 3
    text = printed.markdown()
    assert "(2 of 3 seeds)" in text
    assert "| never | – |" in text


def test_yours_agree_or_differ():
    seeds = [0.60, 0.61, 0.62]
    near = repeat_interval(seeds, 3)
    assert comparison.agreement(estimate(seeds), near) == "agrees"
    assert comparison.agreement(estimate([0.7] * 3), near) == "differs"
    assert comparison.agreement(estimate(seeds), repeat_interval([0.6], 3)) == "no interval"
    assert comparison.agreement(estimate(seeds), repeat_interval([], 3)) == "no reference"
    nan = float("nan")
    never = Estimate(nan, nan, nan, 3, missing=3)
    assert comparison.agreement(never, never) == "agrees"
    assert (
        comparison.agreement(never, near)
        == comparison.agreement(estimate(seeds), never)
        == "differs"
    )
    exact = repeat_interval([0.1] * 3, 3)  # at chance: an interval without width
    assert comparison.agreement(estimate([0.1, 0.1003]), exact, comparison.SAME) == "agrees"


def test_the_comparison_fits_a_terminal(tmp_path):
    plant(tmp_path / "yours", {**ALIKE, "bn_x30": [(0, 0.1), (1, 0.65)]})
    plant(tmp_path / "reference")
    both = [statistics.load(tmp_path / root) for root in ("yours", "reference")]
    text = comparison.comparison(*both, published=True)
    assert max(map(len, text.splitlines())) <= 100
    assert "agrees" in text
    assert text.count("differs") == 2  # bn_x30: its accuracy and its speed-up
    alone = comparison.comparison(*both, published=False)  # arms that the paper does not have
    assert alone.count("differs") == 1
    assert "speed-up" not in alone and "paper" not in alone


def test_a_section_is_replaced_between_its_markers():
    text = "a\n<!-- results:begin -->\nold\n<!-- results:end -->\nb\n"
    new = build.replace_section(text, "results", "new\n")
    assert new == text.replace("old", "new")
    assert build.replace_section(new, "results", "new\n") == new
    for wrong in ("nothing", "<!-- results:end --><!-- results:begin -->", text + text):
        with pytest.raises(build.ReportError, match="results:begin"):
            build.replace_section(wrong, "results", "new")


def test_the_script_writes_compares_and_checks(tmp_path, report):
    plant(tmp_path / "results", noise=0.01)
    plant(tmp_path / "outputs")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    assert report("--check")[0] == 1
    assert report("--readme", "README.md")[0] == 0
    assert "| bn_x5 |" in readme.read_text()
    assert "| C8 |" in readme.read_text()
    assert report("--check") == (0, "", "")
    readme.write_text(readme.read_text().replace("bn_x5", "bn_x6"))
    status, _, said = report("--check")
    assert (status, len(said.splitlines())) == (1, 1)
    assert "bn_x6" in readme.read_text()  # a check writes nothing
    assert report("--readme", "README.md")[0] == 0
    drawn = tmp_path / "results/figures/quick/cifar10_learning_rate.png"
    left = drawn.with_name("of_no_record.png")
    drawn.rename(left)
    said = report("--check")[2]
    assert f"stale: results/{drawn.relative_to(tmp_path / 'results')}; run" in said
    assert f"of no record: results/{left.relative_to(tmp_path / 'results')}; remove" in said
    status, said, _ = report("--root", "outputs", "--compare")
    assert status == 0
    assert "agrees" in said
    assert "outputs/claims.md" in said


def test_the_script_says_what_is_wrong_in_one_line(tmp_path, report):
    expected = "no records under outputs/records: run make reproduce-cifar first\n"
    assert report("--root", "outputs") == (1, "", expected)
    assert report() == (1, "", "no records under results/records: --root outputs draws your own\n")
    assert report("--root", "typo") == (1, "", "no records under typo/records\n")
    broken = tmp_path / "outputs/records/quick/cifar10_learning_rate/baseline-0.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    status, _, said = report("--root", "outputs")
    assert status == 1
    assert "baseline-0.json" in said
    assert len(said.splitlines()) == 1


def test_the_script_names_the_roots_of_runs_of_ones_own(tmp_path, report):
    roots = [f"outputs/scratch/optim.lr={i}" for i in range(4)]
    for root in [*roots[:2], "outputs/stand-in/scratch/seed=9"]:
        plant(tmp_path / root, seeds=1)
    expected = f"no records under outputs/records; --root can be {roots[0]} or {roots[1]} or"
    expected += " outputs/stand-in/scratch/seed=9"
    assert report("--root", "outputs") == (1, "", f"{expected}\n")
    for root in roots[2:]:
        plant(tmp_path / root, seeds=1)
    assert report("--root", "outputs")[2].endswith(f"{roots[2]} or 2 more\n")


def test_the_script_refuses_before_it_writes(tmp_path, report):
    plant(tmp_path / "results", seeds=1)
    for more in (["--check"], ["--compare"], ["--readme", "README.md"]):
        status, out, err = report("--html", *more)
        assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert report("--readme", "no/README.md")[0] == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["records"]


def test_the_script_names_what_cannot_be_written_and_what_is_not_drawn(tmp_path, report):
    plant(tmp_path, experiment="of_my_own")
    status, out, _ = report("--root", str(tmp_path))
    assert status == 0
    assert out.splitlines()[-1].startswith("of_my_own: not drawn; EXPERIMENTS of src/")
    plant(tmp_path)
    (tmp_path / "figures").write_text("in the way")
    status, _, err = report("--root", str(tmp_path))
    assert (status, len(err.splitlines())) == (1, 1)
    assert str(tmp_path / "figures") in err


def test_figures_of_runs_of_ones_own_say_what_is_changed(tmp_path):
    for root in ("scratch/optim.lr=0.5", "plain"):
        plant(tmp_path / root)
    own, plain = (
        look.where(statistics.load(tmp_path / root)) for root in ("scratch/optim.lr=0.5", "plain")
    )
    assert own == f"{plain}, with optim.lr=0.5"
    figure = build.figures.learning_rate(statistics.load(tmp_path / "scratch/optim.lr=0.5"))
    assert "with optim.lr=0.5" in " ".join(text.get_text() for text in figure.texts)


def test_no_claim_is_judged_on_runs_of_ones_own(tmp_path):
    """They may have another normalizer in the place of BN."""
    plant(tmp_path / "scratch/model.norm=mine")
    rows = build.render(tmp_path / "scratch/model.norm=mine")
    (ledger,) = (json.loads(text) for path, text in rows.items() if path.name == "claims.json")
    assert {row["verdict"] for row in ledger} == {"not run"}
    (reason,) = {row["reason"] for row in ledger if row["id"] == "C8"}
    assert reason == "runs of your own, with model.norm=mine, on which no claim is judged"


def test_a_normalizer_of_ones_own_is_not_called_bn(tmp_path):
    plant(tmp_path)
    table = statistics.load(tmp_path)
    assert look.with_bn(table) == "with and without BN"
    mine = table.assign(**{"model.norm": table["model.norm"].replace("batch", "mine")})
    assert look.with_bn(mine) == "with and without mine"
    assert build.figures.population(mine) == ""
    assert build.figures.population(table)


def test_the_script_ends_with_the_stand_in_line(tmp_path, report):
    plant(tmp_path / "outputs" / "stand-in", stand_in=True)
    status, said, _ = report("--root", "outputs", "--compare")
    assert status == 0
    assert said.splitlines()[-1].startswith("STAND-IN DATA")


def test_the_report_needs_neither_torch_nor_hydra():
    code = "import sys, batchnorm.report.build; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & {"torch", "hydra", "omegaconf", "wandb"}
    ours = {m for m in modules if m.startswith("batchnorm.") and "report" not in m}
    assert ours == {"batchnorm.record"}


def test_a_comparison_is_with_what_so_many_new_seeds_would_give(tmp_path):
    """One seed of yours may lie where the mean of five may not; speed-ups are geometric."""
    ends = {0: 0.60, 1: 0.62, 2: 0.64}
    for seed, end in ends.items():
        made = one_record("baseline", seed, [(0, 0.1), (1, end)], noise=0)
        record.write(record.record_path(tmp_path / "theirs", made["config"]), made)
    theirs = statistics.load(tmp_path / "theirs")
    for count, says in ((1, "agrees"), (5, "differs")):
        plant(tmp_path / str(count), {"baseline": [(0, 0.1), (1, 0.685)]}, count, noise=0)
        text = comparison.comparison(statistics.load(tmp_path / str(count)), theirs, True)
        (line,) = (one for one in text.splitlines() if one.startswith("best accuracy"))
        assert line.endswith(says), (count, line)
    assert comparison.SAME == 0.002
