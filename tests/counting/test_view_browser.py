"""Claims about correcting a count, in a real browser."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from browsing import chromium, console_errors, dark, keep_picture, needs_browser, serious_faults
from counted_samples import nuclei_counts, wait_for, write_counts
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cellbench.counting.corrections import CorrectionLog, apply_changes
from cellbench.counting.counted_folder import read_counted
from cellbench.counting.regions_file import read_regions
from cellbench.counting.view_server import ViewServer
from cellbench.counting.view_session import ViewSession

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_browser]


@pytest.fixture
def counts(home, tmp_path):
    return nuclei_counts(tmp_path)


@pytest.fixture(scope="module")
def browser():
    with chromium(width=1400) as driver:
        yield driver


@pytest.fixture
def viewer(counts):
    """Start the command and give back its process and address."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "cellbench", "view", str(counts), "--no-browser"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def facts(driver, name="counts"):
    """The numbers of a list of the page."""
    return driver.execute_script(
        "const found = {}; const list = document.getElementById(arguments[0]);"
        "for (const dt of list.querySelectorAll('dt'))"
        " found[dt.textContent] = dt.nextSibling.textContent; return found;",
        name,
    )


def corrected(driver):
    return float(facts(driver)["Corrected"])


def opened(driver, address):
    driver.get("about:blank")
    driver.get(address)
    wait_for(lambda: facts(driver))
    wait_for(
        lambda: driver.execute_script("return [...view.tiles.values()].some((t) => t.complete)")
    )


def click(driver, x, y):
    """Click on a place of the picture, px."""
    sx, sy = driver.execute_script("return view.toScreen([arguments[0], arguments[1]])", x, y)
    canvas = driver.find_element(By.ID, "canvas")
    size = canvas.size
    ActionChains(driver, duration=0).move_to_element_with_offset(
        canvas, round(sx - size["width"] / 2), round(sy - size["height"] / 2)
    ).click().perform()


def empty_places(driver, number):
    """Places of the picture far from every cell."""
    return driver.execute_script(
        """const found = []; const all = [...picture.points, ...picture.added];
        for (let y = 8; y < picture.size[1] && found.length < arguments[0]; y += 6)
          for (let x = 8; x < picture.size[0] && found.length < arguments[0]; x += 6)
            if ([...all, ...found].every((p) => Math.hypot(p[0] - x, p[1] - y) > 9))
              found.push([x, y]);
        return found;""",
        number,
    )


def lonely_cells(driver, number):
    """Cells of the method that have no neighbour close by."""
    return driver.execute_script(
        """return picture.points.filter((p, i) => picture.kept[i] && picture.scores[i] > 0.7
          && picture.points.every((q, j) => i === j || Math.hypot(p[0] - q[0], p[1] - q[1]) > 9))
          .slice(0, arguments[0]);""",
        number,
    )


def test_a_count_is_corrected_and_kept_through_a_kill(counts, viewer, browser):
    counted = read_counted(counts)
    first, second = counted.pictures[:2]
    process, address = viewer()
    console_errors(browser)
    opened(browser, address)
    before = corrected(browser)
    assert before == first.count

    for number, place in enumerate(empty_places(browser, 3), start=1):
        click(browser, *place)
        wait_for(lambda n=number: corrected(browser) == before + n)
    taken = lonely_cells(browser, 2)
    for number, place in enumerate(taken, start=1):
        click(browser, *place)
        wait_for(lambda n=number: corrected(browser) == before + 3 - n)
    browser.find_element(By.ID, "undo").click()
    wait_for(lambda: corrected(browser) == before + 2)

    slider = browser.find_element(By.ID, "threshold")
    slider.send_keys(Keys.END)
    slider.send_keys(*[Keys.ARROW_LEFT] * 40)  # 0.6
    done = apply_changes(first.places, CorrectionLog.open(counts).changes[first.name])
    would = int((done.kept & (first.scores >= 0.6)).sum()) + 3
    assert browser.find_element(By.ID, "kept").text == f"{would} would count"
    assert corrected(browser) == before + 2  # the slider alone changes nothing

    browser.find_element(By.CSS_SELECTOR, "input[value=region]").click()
    drag(browser, [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)])
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "#regions tbody tr"))
    shown = browser.find_element(By.CSS_SELECTOR, "#regions tbody td:nth-child(2)").text
    browser.find_element(By.CSS_SELECTOR, "input[value=cell]").click()
    keep_picture(browser, "viewer")

    browser.find_element(By.ID, "next").click()
    wait_for(lambda: browser.find_element(By.ID, "where").text == "2 of 3")
    wait_for(lambda: corrected(browser) == second.count)
    browser.find_element(By.ID, "checked").click()
    wait_for(lambda: facts(browser)["Looked through"] == "yes")
    totals = facts(browser, "totals")
    assert totals["Pictures looked through"] == "2 of 3"
    assert totals["Mean |method − person|"] == "1.00"

    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    click(browser, *empty_places(browser, 1)[0])  # nobody keeps it, so it is not shown
    wait_for(lambda: "has ended" in browser.find_element(By.ID, "message").text)
    assert corrected(browser) == second.count
    console_errors(browser)

    _, address = viewer()
    opened(browser, address)
    assert corrected(browser) == before + 2
    assert facts(browser, "totals") == totals
    (region,) = read_regions(counts)[first.name]
    cells = [*first.places[done.kept].tolist(), *done.added.tolist()]
    assert int(region.holds(cells).sum()) == int(shown)
    lines = (counts / "corrected.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["added"] * 3 + ["removed", "checked"]
    assert console_errors(browser) == []


def drag(driver, shares):
    """Draw a line over the canvas through places in shares of the picture on the screen."""
    canvas = driver.find_element(By.ID, "canvas")
    width, height = canvas.size["width"], canvas.size["height"]
    low = driver.execute_script("return view.toScreen([0, 0])")
    high = driver.execute_script("return view.toScreen(picture.size)")
    actions = ActionChains(driver, duration=0)
    for index, (x, y) in enumerate(shares):
        sx = low[0] + x * (high[0] - low[0]) - width / 2
        sy = low[1] + y * (high[1] - low[1]) - height / 2
        actions.move_to_element_with_offset(canvas, round(sx), round(sy))
        if index == 0:
            actions.click_and_hold()
    actions.release().perform()


def test_a_lasso_takes_away_what_it_holds_and_one_undo_brings_it_back(counts, viewer, browser):
    _, address = viewer()
    opened(browser, address)
    before = corrected(browser)
    browser.find_element(By.CSS_SELECTOR, "input[value=lasso]").click()
    drag(browser, [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.1)])
    wait_for(lambda: corrected(browser) < before / 2)
    browser.find_element(By.ID, "undo").click()
    wait_for(lambda: corrected(browser) == before)


def test_the_keyboard_alone_adds_a_cell_undoes_it_and_goes_on(counts, viewer, browser):
    _, address = viewer()
    opened(browser, address)
    before = corrected(browser)
    place = empty_places(browser, 1)[0]
    browser.find_element(By.ID, "canvas").send_keys(Keys.ARROW_LEFT)
    browser.execute_script("view.cross = arguments[0]", place)
    browser.find_element(By.ID, "canvas").send_keys(" ")
    wait_for(lambda: corrected(browser) == before + 1)
    browser.find_element(By.ID, "canvas").send_keys("U")  # as with caps lock
    wait_for(lambda: corrected(browser) == before)
    browser.find_element(By.ID, "canvas").send_keys(Keys.PAGE_DOWN)
    wait_for(lambda: browser.find_element(By.ID, "where").text == "2 of 3")


def answers_late(driver, path, milliseconds):
    """Let the browser wait for one answer; a negative number gives none."""
    driver.execute_script(
        """const real = window.fetch; const [path, late] = arguments;
        window.fetch = (asked, options) => String(asked) !== path ? real(asked, options)
          : late < 0 ? Promise.reject(new Error("gone"))
          : new Promise((go) => setTimeout(go, late)).then(() => real(asked, options));""",
        path,
        milliseconds,
    )


def test_a_click_while_the_next_picture_comes_changes_the_one_that_is_shown(
    counts, viewer, browser
):
    first, second = read_counted(counts).pictures[:2]
    _, address = viewer()
    opened(browser, address)
    answers_late(browser, "picture/1", 1500)
    place = empty_places(browser, 1)[0]
    browser.find_element(By.ID, "next").click()
    click(browser, *place)
    wait_for(lambda: CorrectionLog.open(counts).changes)
    assert list(CorrectionLog.open(counts).changes) == [first.name]
    wait_for(lambda: browser.find_element(By.ID, "where").text == "2 of 3")
    assert corrected(browser) == second.count


def test_the_picture_that_was_asked_for_last_is_shown(counts, viewer, browser):
    third = read_counted(counts).pictures[2]
    _, address = viewer()
    opened(browser, address)
    answers_late(browser, "picture/1", 800)
    canvas = browser.find_element(By.ID, "canvas")
    canvas.send_keys(Keys.PAGE_DOWN, Keys.PAGE_DOWN)
    wait_for(lambda: browser.find_element(By.ID, "where").text == "3 of 3")
    time.sleep(1.2)  # the answer on the second comes, too late
    assert browser.execute_script("return [index, picture.index]") == [2, 2]
    assert corrected(browser) == third.count


def test_a_picture_that_does_not_come_leaves_the_last_one(counts, viewer, browser):
    first = read_counted(counts).pictures[0]
    _, address = viewer()
    opened(browser, address)
    answers_late(browser, "picture/1", -1)
    place = empty_places(browser, 1)[0]
    browser.find_element(By.ID, "next").click()
    wait_for(lambda: "has ended" in browser.find_element(By.ID, "message").text)
    assert browser.find_element(By.ID, "pictures").get_attribute("value") == "0"
    click(browser, *place)
    wait_for(lambda: CorrectionLog.open(counts).changes)
    assert list(CorrectionLog.open(counts).changes) == [first.name]


def test_a_picture_of_150000_cells_is_shown(tmp_path, browser):
    path = tmp_path / "many.png"
    Image.new("L", (2000, 2000)).save(path)
    rng = np.random.default_rng(0)
    cells = (rng.uniform(0, 2000, (150_000, 2)), rng.uniform(0.25, 1, 150_000))
    folder = write_counts(tmp_path / "counts", {path: cells})
    with ViewServer(ViewSession(read_counted(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        console_errors(browser)
        opened(browser, server.address)
        assert corrected(browser) == 150_000
        assert browser.find_element(By.ID, "threshold").get_attribute("value") == "0.25"
        assert console_errors(browser) == []
        server.shutdown()


def test_regions_of_two_pages_of_one_picture_stay(counts, viewer, browser):
    _, address = viewer()
    opened(browser, address)
    stale = browser.execute_script("return picture")
    browser.find_element(By.CSS_SELECTOR, "input[value=region]").click()
    line = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.2)]
    drag(browser, line)
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "#regions tbody tr"))
    browser.execute_script("picture = arguments[0]; draw();", stale)  # as another page has it
    drag(browser, line)
    rows = (By.CSS_SELECTOR, "#regions tbody tr")
    wait_for(lambda: len(browser.find_elements(*rows)) == 2)
    browser.find_element(By.CSS_SELECTOR, "#regions button").click()
    wait_for(lambda: len(browser.find_elements(*rows)) == 1)
    ((kept,),) = read_regions(counts).values()
    assert kept.name == "region 1 (2)"


@pytest.mark.parametrize("night", [False, True], ids=["light", "dark"])
def test_the_viewer_has_no_serious_fault_and_no_error(counts, viewer, browser, night):
    _, address = viewer()
    dark(browser, night)
    console_errors(browser)
    opened(browser, address)
    browser.find_element(By.ID, "refresh").click()
    assert console_errors(browser) == []
    assert serious_faults(browser) == []
    dark(browser, False)


def test_a_second_viewer_of_the_same_person_is_refused(counts, viewer):
    _, address = viewer()
    assert address.startswith("http://127.0.0.1:")
    command = [sys.executable, "-m", "cellbench", "view", str(counts), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 2
    assert "--annotator" in done.stderr
