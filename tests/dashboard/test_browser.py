"""The pages in headless Chromium, against the server as the command starts it (make browser)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import _runs
import numpy as np
import pytest
from PIL import Image

from nunatak.io.star import read_star, write_star_tables

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
WAIT_MS = 60_000


@dataclass
class Desk:
    """A page of the dashboard, and what its console said."""

    page: object
    address: str
    complaints: list[str] = field(default_factory=list)

    def visit(self, run: str, name: str) -> None:
        """Open a page and wait until it is drawn."""
        self.page.goto(f"{self.address.split('#')[0]}#/{run}/{name}")
        self.page.wait_for_selector(f"#page[data-page={name}][data-state=done]")

    def click_particle(self, row: int) -> None:
        """Click where a particle is drawn."""
        place = self.page.evaluate(
            """row => { const s = nunatakExplore.scatter;
            const box = s.over.getBoundingClientRect();
            const [x, y] = s.toScreen(s.x.values[row], s.y.values[row]);
            return [box.left + x, box.top + y]; }""",
            row,
        )
        self.page.mouse.click(*place)

    def map_picture(self) -> np.ndarray:
        """(h, w, 3) what the map's panel shows."""
        import io

        raw = self.page.locator(".map .ngl canvas").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), int)

    def wait_for_map(self, said: str) -> None:
        """Wait until the caption of the map says so."""
        self.page.wait_for_function(
            "said => document.querySelector('.caption').textContent.startsWith(said)", arg=said
        )
        self.page.wait_for_timeout(300)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (make browser)"
    )
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def set_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "runs"
    first = _runs.finished_run(folder / "first")
    _runs.turned_run(folder / "second", first)
    _runs.running_run(folder / "live")
    return folder


def serve(*words: object) -> tuple[subprocess.Popen[str], str]:
    """Start the command; its process and the address that it prints."""
    command = [sys.executable, "-m", "nunatak", "dashboard", *map(str, words), "--port=0", "--threads=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout or ():
        found = re.search(r"http://\S+", line)
        if found:
            return process, found.group()
    raise AssertionError("the dashboard printed no address")


@pytest.fixture(scope="module")
def address(set_of_runs: Path) -> Iterator[str]:
    process, printed = serve(set_of_runs, "--allow-writing")
    yield printed
    stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """End a server that this test started."""
    process.terminate()
    process.wait(20)
    if process.stdout:
        process.stdout.close()


@pytest.fixture
def desk(browser, address: str) -> Iterator[Desk]:
    yield from opened_desk(browser, address)


def opened_desk(browser, address: str, scheme: str = "light") -> Iterator[Desk]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    found = Desk(page, address)
    page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda request: found.complaints.append(request.url) if is_foreign(request.url) else None
    )
    page.goto(address)
    page.wait_for_selector("#page[data-state=done]")
    yield found
    context.close()
    assert not found.complaints, found.complaints


def is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "blob:", "data:"))


def test_a_click_changes_the_map(desk: Desk) -> None:
    desk.visit("first", "explore")
    latents = desk.page.evaluate("nunatakExplore.session.values('z1').then(v => [...v])")
    low, high = int(np.argmin(latents)), int(np.argmax(latents))
    desk.click_particle(low)
    desk.wait_for_map(f"particle {low}:")
    before = desk.map_picture()
    desk.click_particle(high)
    desk.wait_for_map(f"particle {high}:")
    changed = (np.abs(before - desk.map_picture()).max(-1) > 30).mean()
    assert changed > 0.01, f"{changed:.2%} of the pixels differ"
    assert desk.page.evaluate("nunatakExplore.mapMs") < 5000
    desk.page.wait_for_function("() => document.querySelector('.images img')?.naturalWidth > 0")


def test_a_lasso_is_saved_and_its_star_downloaded(desk: Desk, set_of_runs: Path, tmp_path: Path) -> None:
    desk.visit("first", "explore")
    desk.page.get_by_role("button", name="Lasso").click()
    box = desk.page.locator(".plot canvas.over").bounding_box()
    x0, x1, y0, y1 = (
        box["x"] + 60,
        box["x"] + box["width"] * 0.45,
        box["y"] + 30,
        box["y"] + box["height"] - 40,
    )
    desk.page.mouse.move(x0, y0)
    desk.page.mouse.down()
    for x, y in ((x1, y0), (x1, y1), (x0, y1), (x0, y0)):
        desk.page.mouse.move(x, y, steps=4)
    desk.page.mouse.up()
    said = desk.page.locator(".chosen").text_content()
    count = int(said.split(" of ")[0].replace(",", ""))
    assert 20 < count < 280, said
    desk.page.get_by_label("Name of the selection").fill("left_arm")
    desk.page.get_by_role("button", name="Save").click()
    desk.page.wait_for_selector("#notice .good")
    picked = read_star(set_of_runs / "first" / "selections" / "left_arm.star").rows
    assert len(picked) == count
    middle = desk.page.evaluate("x => nunatakExplore.scatter.toData(x, 0)[0]", x1 - box["x"])
    rows = np.load(set_of_runs / "first" / "selections" / "left_arm.npy")
    assert (np.load(set_of_runs / "first" / "latents.npy")[rows, 0] < middle).all()
    with desk.page.expect_download() as download:
        desk.page.get_by_title("Download left_arm.star").click()
    download.value.save_as(tmp_path / "fetched.star")
    assert (tmp_path / "fetched.star").read_bytes() == (
        set_of_runs / "first" / "selections" / "left_arm.star"
    ).read_bytes()
    with desk.page.expect_download() as download:
        desk.page.get_by_role("button", name="Download .star").click()
    download.value.save_as(tmp_path / "direct.star")
    assert len(read_star(tmp_path / "direct.star").rows) == count


def test_a_brush_keeps_a_range_everywhere(desk: Desk) -> None:
    desk.visit("first", "explore")
    bars = desk.page.locator(".histogram svg").first
    box = bars.bounding_box()
    desk.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    desk.page.mouse.down()
    desk.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20, steps=6)
    desk.page.mouse.up()
    desk.page.wait_for_function("() => nunatakExplore.session.passing < 300")
    confidence = desk.page.evaluate(
        "nunatakExplore.session.values('nunatakPoseConfidence').then(v => [...v])"
    )
    flags = desk.page.evaluate("[...nunatakExplore.session.flags]")
    kept = [value for value, flag in zip(confidence, flags, strict=True) if flag]
    lost = [value for value, flag in zip(confidence, flags, strict=True) if not flag]
    assert max(kept) < max(lost)
    assert not any(min(kept) <= value <= max(kept) for value in lost)
    desk.page.mouse.click(box["x"] + 5, box["y"] + 20)
    desk.page.wait_for_function("() => nunatakExplore.session.passing === 300")


def test_a_path_is_found_and_played(desk: Desk) -> None:
    desk.visit("first", "explore")
    latents = desk.page.evaluate("nunatakExplore.session.values('z1').then(v => [...v])")
    desk.page.get_by_role("button", name="Path", exact=True).click()
    for row in (int(np.argmin(latents)), int(np.argmax(latents))):
        desk.click_particle(row)
        desk.page.wait_for_timeout(400)
    play = desk.page.locator(".path-editor button.main")
    desk.page.wait_for_selector(".path-editor button.main:enabled")
    desk.wait_for_map("along the path: map 1")
    first = desk.map_picture()
    play.click()
    desk.page.wait_for_function("() => nunatakExplore.path.at >= 5")
    play.click()
    assert (np.abs(first - desk.map_picture()).max(-1) > 30).mean() > 0.003
    with desk.page.expect_download() as download:
        desk.page.get_by_role("button", name=".csv").click()
    table = np.genfromtxt(download.value.path(), delimiter=",", names=True)
    assert table.dtype.names == ("z1", "z2", "z3", "z4", "support")
    assert len(table) == 15


def test_a_run_that_goes_on_is_followed(desk: Desk, set_of_runs: Path) -> None:
    desk.visit("live", "live")
    desk.page.wait_for_function("() => document.querySelector('.map').dataset.shown === '1'")
    assert "pass 4 of at most 5" in desk.page.locator("h1").text_content()
    assert desk.page.locator("li[data-state=now]").text_content() == "poses and latents"
    before = desk.map_picture()
    _runs.go_on(set_of_runs / "live")
    desk.page.wait_for_function("() => document.querySelector('.map').dataset.shown === '2'")
    desk.page.wait_for_timeout(400)
    assert "pass 5 of at most 5" in desk.page.locator("h1").text_content()
    assert (np.abs(before - desk.map_picture()).max(-1) > 30).mean() > 0.01
    desk.visit("live", "explore")
    assert "200 particles" in desk.page.locator(".chosen").text_content()


def test_two_runs_are_compared(desk: Desk) -> None:
    desk.visit("first", "compare")
    desk.page.wait_for_selector(".compare[data-state=done]")
    text = desk.page.locator(".numbers").inner_text()
    assert "300" in text
    assert "100 % / 100 %" in text
    both = desk.map_picture()
    desk.page.locator(".compare .check input").nth(1).uncheck()
    desk.page.wait_for_timeout(400)
    assert (np.abs(both - desk.map_picture()).max(-1) > 15).mean() > 0.01


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_every_page_fits_and_can_be_read(browser, address: str, scheme: str, width: int) -> None:
    for desk in opened_desk(browser, address, scheme):
        desk.page.set_viewport_size({"width": width, "height": 800})
        for name in ("live", "explore", "compare", "details", "job"):
            desk.visit("first", name)
            overflow = desk.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{name} is {overflow} px too wide"
            inner = desk.page.locator("#page").evaluate("page => page.scrollWidth - page.clientWidth")
            assert inner <= 0, f"{name} is {inner} px too wide"


def test_everything_is_reached_by_keys(desk: Desk) -> None:
    desk.visit("first", "explore")
    reached = set()
    for _ in range(60):
        desk.page.keyboard.press("Tab")
        reached.add(
            desk.page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
        )
    assert {"Explore", "Lasso", "Contour level", "Mean"} <= reached
    assert any(name.startswith("Scatter of particles") for name in reached)
    assert any(name.startswith("Range of") for name in reached)
    desk.page.locator(".plot canvas.over").focus()
    before = desk.page.evaluate("nunatakExplore.scatter.middle[0]")
    desk.page.keyboard.press("ArrowRight")
    assert desk.page.evaluate("nunatakExplore.scatter.middle[0]") > before


def test_a_job_is_started_from_the_form(desk: Desk, set_of_runs: Path) -> None:
    desk.visit("first", "job")
    desk.page.get_by_label("Name of the run").fill("from_form")
    desk.page.get_by_label("Particles", exact=True).fill(str(set_of_runs / "first" / "particles.mrcs"))
    desk.page.get_by_label("Latent dimensions", exact=True).fill("0")
    desk.page.get_by_role("button", name="Start", exact=True).click()
    desk.page.wait_for_selector("#notice .good")
    desk.page.wait_for_selector(".jobs li [data-state=failed]")
    # The stack has no pixel size: the command's own sentence is shown.
    assert "nunatak abinit" in desk.page.locator(".jobs li").inner_text()


def test_a_stopped_run_is_resumed_from_its_page(desk: Desk, set_of_runs: Path) -> None:
    run = _runs.running_run(set_of_runs / "halted", particles=40)
    _runs.fall_silent(run)
    desk.page.reload()  # the list of runs is read when the page opens
    desk.visit("halted", "live")
    desk.page.get_by_role("button", name="Resume").click()
    desk.page.wait_for_selector("#notice .good")
    desk.page.wait_for_selector("button.resume", state="hidden")
    desk.visit("halted", "job")
    desk.page.get_by_role("button", name="Stop").click()
    desk.page.wait_for_selector(".jobs li [data-state=stopped]")
    # From the list of jobs as well; and stopped for good, so that no process outlives the test.
    desk.page.get_by_role("button", name="Resume").click()
    desk.page.wait_for_selector(".jobs li [data-state=running]")
    desk.page.get_by_role("button", name="Stop").click()
    desk.page.wait_for_selector(".jobs li [data-state=stopped]")


HOSTILE = "<img/src=x/onerror=alert(1)>"


def test_texts_of_a_run_are_never_markup(browser, tmp_path: Path) -> None:
    """A star, a run's name and its parameters from somebody else: all are shown as the text that they are."""
    name = "<b>bold&lt;"
    run = _runs.finished_run(tmp_path / "runs" / name, particles=60)
    poison(run)
    _runs.turned_run(tmp_path / "runs" / "other", run)
    process, printed = serve(tmp_path / "runs", "--allow-writing")
    try:
        for desk in opened_desk(browser, printed):
            shown_id = desk.page.evaluate("fetch('/api/runs').then(r => r.json()).then(all => all[0].id)")
            for page in ("live", "explore", "compare", "details", "job"):
                desk.visit(shown_id, page)
                if page == "explore":
                    desk.click_particle(3)
                    desk.wait_for_map("particle 3:")
                    desk.page.locator("select[data-axis=colour]").select_option("rlnMicrographName")
                    desk.page.wait_for_function(
                        "text => document.querySelector('.legend').textContent.includes(text)", arg=HOSTILE
                    )
                    assert HOSTILE in desk.page.locator("dl.values").inner_text()
                injected = desk.page.evaluate(INJECTED)
                assert not injected, f"{page}: {injected}"
    finally:
        stop(process)


def poison(run: Path) -> None:
    """Names of columns, micrographs and classes, parameters and sentences that are markup."""
    star = run / "particles.star"
    file = read_star(star)
    rows = file.rows.copy()
    rows["rlnMicrographName"] = [f"{HOSTILE}{k % 3}" for k in range(len(rows))]
    rows["<svg/onload=alert(2)>"] = np.linspace(0, 1, len(rows))
    write_star_tables(star, {"optics": file.optics_rows, "particles": rows})
    summary = json.loads((run / "summary.json").read_text())
    poisoned = {"outcome_sentence": HOSTILE, "warnings": [HOSTILE], "command": HOSTILE, "version": HOSTILE}
    (run / "summary.json").write_text(json.dumps({**summary, **poisoned}))
    (run / "command.txt").write_text(HOSTILE)


INJECTED = """() => [...document.querySelectorAll('#page img, #page svg, header b, select b, #page script')]
  .filter(node => node.hasAttribute('onerror') || node.hasAttribute('onload')
    || node.getAttribute('src') === 'x' || node.textContent === 'bold' || node.tagName === 'SCRIPT')
  .map(node => node.outerHTML)"""


def test_a_wrong_token_is_told(browser, address: str) -> None:
    for desk in opened_desk(browser, address.split("#")[0]):
        desk.visit("first", "explore")
        desk.page.get_by_role("button", name="unlock writing").click()
        desk.page.locator("#token").fill("guess")
        desk.page.get_by_role("button", name="Use it").click()
        desk.page.wait_for_selector("#notice .bad")
        assert "token" in desk.page.locator("#notice").inner_text()
        # The browser itself reports the refusal in the console: it is the one that is expected.
        desk.complaints[:] = [said for said in desk.complaints if "401" not in said]


def test_half_a_million_points_move_smoothly(browser, tmp_path: Path) -> None:
    """Frames drawn in three seconds of panning, in software where there is no GPU, once the page has settled.

    Opening draws all points of both views several times, which takes software seconds: that is no panning.
    """
    _runs.large_run(tmp_path / "large", 500_000)
    process, printed = serve(tmp_path / "large")
    try:
        for desk in opened_desk(browser, printed):
            desk.visit("large", "explore")
            assert desk.page.evaluate("nunatakExplore.session.count") == 500_000
            desk.page.evaluate(SETTLE)
            rate = desk.page.evaluate(PAN)
            assert rate > 20, f"{rate:.1f} frames per second"
    finally:
        stop(process)


SETTLE = """async () => {
  for (let round = 0; round < 3; round++) {
    for (const view of [nunatakExplore.scatter, nunatakExplore.globe]) {
      const gl = view.points.gl;
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    }
    await new Promise(done => setTimeout(done, 500));
  }
}"""
PAN = """() => new Promise(done => {
  const plot = nunatakExplore.scatter, began = performance.now();
  let frames = 0;
  const step = () => {
    plot.pan(frames % 2 ? 9 : -8, 3 * Math.cos(frames));
    frames += 1;
    if (performance.now() - began < 3000) return requestAnimationFrame(step);
    plot.points.gl.finish();
    const drawn = plot.frames.filter(time => time > began).length;
    done(1000 * drawn / (performance.now() - began));
  };
  requestAnimationFrame(step);
})"""
