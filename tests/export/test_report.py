import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from fake_run_folder import write_run_folder

from nunatak.core.errors import InputError
from nunatak.core.words import duration
from nunatak.export.report import report_page, write_report
from nunatak.export.run_contents import RunContents, read_run_contents
from nunatak.export.words import headline, memory, truth_row, view_coverage
from nunatak.geometry.rotations import matrices_from_euler
from nunatak.io.atomic import write_json, write_text


class Outline(HTMLParser):
    """Section titles, addresses and unbalanced tags of a page."""

    def __init__(self, html):
        super().__init__()
        self.titles, self.addresses, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "img", "br", "path", "use", "line", "rect", "ellipse"}:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open and self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("runs") / "run")
    return folder, write_report(folder).read_text(encoding="utf-8")


def test_a_complete_run_has_every_section(complete):
    _, html = complete
    outline = Outline(html)
    assert outline.titles == [
        "One warning",
        "Against the truth",
        "Resolution",
        "Map",
        "Conformations",
        "Poses",
        "Progress",
        "Particles",
        "Parameters",
        "Provenance",
    ]
    assert outline.open == []
    assert "<h1>Converged: 16.8 Å from 300 particles in 2 min 10 s.</h1>" in html
    assert "mirrored" in html


def test_the_page_asks_nothing_of_the_network(complete):
    _, html = complete
    outside = [a for a in Outline(html).addresses if not a.startswith(("data:image/png;base64,", "#"))]
    assert outside == []
    assert not re.search(r"@import|url\((?!#)|<script|<link", html)
    assert len(html) < 3_000_000


def test_ids_are_unique(complete):
    ids = re.findall(r'\bid="([^"]+)"', complete[1])
    assert len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_page(tmp_path):
    write_run_folder(tmp_path)
    (tmp_path / "mean.mrc").unlink()
    for path in (tmp_path / "volumes").iterdir():
        path.unlink()
    contents = read_run_contents(tmp_path)
    assert report_page(contents) == report_page(contents)


def test_an_empty_folder_still_gives_a_page(tmp_path):
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "This run has no summary yet." in html
    assert Outline(html).titles == []


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run folder"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name",
    [
        "summary.json",
        "fsc.csv",
        "fsc_molecule.csv",
        "mean.mrc",
        "latents.npy",
        "particles.star",
        "config.toml",
    ],
)
def test_a_broken_file_becomes_a_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00 nonsense =")
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert f"{name} could not be read and is left out of this report" in html


def test_a_half_written_history_line_is_passed_over(tmp_path):
    lines = [
        '{"time_s": 1, "log_evidence": 1.0}',
        '{"time_s": 2, "log_evidence": 2.0, "speed": 4}',
        '{"time_',
    ]
    write_text(tmp_path / "history.jsonl", "\n".join(lines))
    run = read_run_contents(tmp_path)
    assert len(run.history) == 2
    assert run.problems == ()
    assert Outline(report_page(run)).titles == ["Progress"]


def test_noise_is_said_plainly(tmp_path):
    outcome = {"outcome": "no_structure_found", "resolution_A": None, "particles": 5000}
    html = report_page(RunContents(tmp_path, outcome))
    assert "<h1>No structure found.</h1>" in html
    assert "<dd>none</dd>" in html


def test_text_from_files_cannot_become_markup(tmp_path):
    bad = "<script>alert(1)</script>"
    write_json(
        tmp_path / "summary.json",
        {"outcome_sentence": bad, "warnings": [bad], "command": bad, "recipe": bad, "truth": {bad: bad}},
    )
    write_text(tmp_path / "config.toml", f'["{bad}"]\n"{bad}" = "{bad}"\n')
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 7


def test_the_sentence_is_made_where_the_run_has_none():
    summary = {"outcome": "converged", "resolution_A": 8.34, "particles": 5000, "wall_s": 130}
    assert headline(summary) == "Converged: 8.3 Å from 5,000 particles in 2 min 10 s."
    assert headline({"outcome": "stopped"}) == "Stopped."


def test_numbers_in_words():
    assert [duration(s) for s in (48.2, 130, 11100)] == ["48 s", "2 min 10 s", "3 h 05 min"]
    assert [memory(m) for m in (850, 2100)] == ["850 MB", "2.1 GB"]
    assert truth_row("hand", 1)[1] == "as the truth"
    assert truth_row("mean_fsc_auc", "mean.mrc is small")[1] == "mean.mrc is small"


def test_views_of_a_side_only_cover_little():
    generator = np.random.default_rng(0)
    angles = np.stack(
        [generator.uniform(0, 360, 2000), np.full(2000, 90.0), generator.uniform(0, 360, 2000)], 1
    )
    assert view_coverage(matrices_from_euler(torch.from_numpy(angles)).numpy()) < 0.3
