"""Claims about the site of the results, in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from browsing import chromium, console_errors, dark, keep_picture, needs_browser, serious_faults
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from site_samples import write_nuclei_records

from cellbench.ranking.paired_tests import compare_pairs
from cellbench.reports.grid_results import GridRun
from cellbench.reports.site.grid_report import ReportPart, write_grid_report
from cellbench.reports.site.ranked_tables import read_results
from cellbench.reports.site.site_build import build_site

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_browser]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLBENCH_HOME", str(folder / "home"))
        patch.setenv("CELLBENCH_OFFLINE", "1")
        write_nuclei_records(folder)
        build_site([folder], folder / "site")
        yield folder


@pytest.fixture(scope="module")
def table(store):
    return read_results([store]).tables[0]


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


def address(store, page="index.html"):
    return (store / "site" / page).as_uri()


def column(driver, title):
    """The texts of a column of the page's first table."""
    return driver.execute_script(
        "const table = document.querySelector('table');"
        "const heads = [...table.tHead.rows[0].cells].map((h) => h.textContent.trim());"
        "const place = heads.indexOf(arguments[0]);"
        "return [...table.tBodies[0].rows].map((r) => r.cells[place].innerText.trim());",
        title,
    )


def test_two_clicks_lead_from_the_overview_to_the_image_on_which_the_first_errs_most(
    store, table, browser
):
    errors = table.ranked_errors
    worst = errors.image_ids[int(np.argmax(errors.absolute[0]))]
    browser.get(address(store))
    browser.find_element(By.CSS_SELECTOR, "#results tbody tr:first-child th a").click()
    browser.find_element(By.ID, "worst").click()
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith(worst)


def test_heads_sort_and_the_address_keeps_the_choice(store, browser):
    browser.get(address(store))
    browser.find_element(By.XPATH, "//thead//button[.='RMSE']").click()
    rising = [float(text) for text in column(browser, "RMSE")]
    assert rising == sorted(rising)
    browser.find_element(By.XPATH, "//thead//button[.='RMSE']").click()
    browser.find_element(By.ID, "q").send_keys("methoda")
    falling = [float(text) for text in column(browser, "RMSE")]
    assert falling == sorted(falling, reverse=True)
    assert len(falling) == 2
    kept = browser.current_url
    browser.get("about:blank")
    browser.get(kept)
    assert [float(text) for text in column(browser, "RMSE")] == falling
    assert browser.find_element(By.ID, "q").get_attribute("value") == "methoda"
    assert browser.find_element(By.CSS_SELECTOR, "th[aria-sort=descending]").text.startswith("RMSE")


def test_partial_trainings_come_when_asked_for_and_are_marked(store, browser):
    browser.get(address(store))
    assert len(column(browser, "Method")) == 5
    browser.find_element(By.ID, "partial").click()
    shown = column(browser, "Method")
    assert len(shown) == 6
    assert sum("partial" in text for text in shown) == 1
    assert "partial: 10% of the steps" in browser.find_element(By.ID, "notes").text


def test_the_front_is_of_methods_that_no_other_beats_in_both(store, table, browser):
    browser.get(address(store))
    caption = browser.find_element(By.CSS_SELECTOR, "#fronts figcaption").text
    rows = [e.row for e in table.ranked]
    best = [
        r.method
        for r in sorted(rows, key=lambda r: r.train_s)
        if not any(o.train_s <= r.train_s and o.mae < r.mae for o in rows)
    ]
    assert caption.endswith(", ".join(best))


def test_two_methods_side_by_side_have_the_numbers_of_the_paired_test(store, table, browser):
    pair = compare_pairs(table.ranked_errors)[1]  # the first and the third
    browser.get(address(store, "nuclei/v1/compare.html"))
    browser.find_element(By.CSS_SELECTOR, "#b option:nth-child(3)").click()
    text = browser.find_element(By.ID, "verdict").text.replace("−", "-")
    assert f"{pair.difference:+.2f} cells" in text
    assert f"{pair.low:+.2f} to {pair.high:+.2f}" in text
    first = column(browser, "Difference")
    browser.find_element(By.ID, "swap").click()
    swapped = browser.find_element(By.ID, "verdict").text.replace("−", "-")
    assert f"{-pair.difference:+.2f} cells" in swapped
    assert len(first) == len(column(browser, "Difference")) == len(table.errors.image_ids)
    assert "matcher: Hungarian → KHM" in browser.find_element(By.TAG_NAME, "main").text


def test_an_image_shows_the_places_of_two_methods_over_its_picture(store, table, browser):
    fullest = table.errors.image_ids[int(np.argmax(table.errors.truth))]
    browser.get(address(store, f"nuclei/v1/images/{fullest}.html"))
    browser.find_element(By.CSS_SELECTOR, "#second option:nth-child(3)").click()
    state = browser.find_element(By.ID, "state").text
    assert "annotated (crosses)" in state
    assert "(rings)" in state
    assert "(squares)" in state
    assert len(browser.find_elements(By.CSS_SELECTOR, "#view image")) == 1
    browser.execute_script("window.scrollTo(0, 0)")
    keep_picture(browser, "image-page")
    browser.find_element(By.ID, "picture").click()
    assert not browser.find_elements(By.CSS_SELECTOR, "#view image")


@pytest.mark.parametrize("night", [False, True], ids=["light", "dark"])
def test_no_page_has_a_serious_fault_or_an_error(store, table, browser, night):
    first = table.ranked[0].slug
    last = table.ranked[-1].slug
    pages = [
        "index.html#partial=1",
        "nuclei/v1/index.html",
        f"nuclei/v1/methods/{first}.html",
        f"nuclei/v1/methods/{last}.html",
        f"nuclei/v1/images/{table.errors.image_ids[0]}.html",
        "nuclei/v1/compare.html",
        "methods/MethodB.html",
    ]
    dark(browser, night)
    console_errors(browser)
    for page in pages:
        path, _, rest = page.partition("#")
        browser.get(address(store, path) + (f"#{rest}" if rest else ""))
        assert browser.title != "ran"  # what a hostile record would make it
        assert console_errors(browser) == []
        assert serious_faults(browser) == [], page
    dark(browser, False)


def test_the_report_of_a_comparison_has_no_serious_fault(store, table, tmp_path, browser):
    runs = [GridRun((("method", e.row.method),), run) for e in table.ranked for run in e.runs]
    part = ReportPart("g", "Generated", None, runs)
    page, _ = write_grid_report(tmp_path, "g", [part])
    console_errors(browser)
    browser.get(page.as_uri())
    assert console_errors(browser) == []
    assert serious_faults(browser) == []


def test_the_overview_of_many_records_is_soon_usable_and_no_page_is_large(
    tmp_path, monkeypatch, browser
):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from leaderboard import generate

    generate(tmp_path, 400, 200)
    monkeypatch.setenv("CELLBENCH_HOME", str(tmp_path / "home"))
    build_site([tmp_path], tmp_path / "site")
    assert max(path.stat().st_size for path in (tmp_path / "site").rglob("*.html")) < 2e6
    times = []
    for _ in range(4):
        browser.get(address(tmp_path))
        entry = "performance.getEntriesByType('navigation')[0]"
        times.append(browser.execute_script(f"return {entry}.domInteractive"))
    assert min(times) < 1000
    browser.find_element(By.ID, "q").send_keys("m00123")
    assert column(browser, "Method") == ["m00123"]
    assert console_errors(browser) == []


def test_pages_fit_a_phone(store, table):
    with chromium(width=390, height=800) as phone:
        size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        phone.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for page in ("index.html", "nuclei/v1/index.html", "nuclei/v1/compare.html"):
            phone.get(address(store, page))
            assert phone.execute_script("return document.documentElement.scrollWidth") <= 390, page


def test_the_keyboard_reaches_the_table_and_sorts_it(store, browser):
    browser.get(address(store))
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.text == "MAE":
            break
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "th[aria-sort=ascending]").text.startswith("MAE")


def test_the_pages_of_the_repository_s_records_answer_what_a_newcomer_asks(tmp_path, browser):
    """The best method of a set, whether the second differs, and where the best one fails."""
    build_site([ROOT], tmp_path / "site")
    tables = [table for table in read_results([ROOT]).tables if table.protocol == "v1"]
    table = next(table for table in tables if table.dataset == "vgg")
    best = table.ranked[0].row
    console_errors(browser)
    browser.get((tmp_path / "site/index.html").as_uri() + "#set=vgg")
    assert column(browser, "Method")[0] == best.method
    keep_picture(browser, "overview-page")
    browser.get((tmp_path / "site/vgg/v1/compare.html").as_uri())
    verdict = browser.find_element(By.ID, "verdict").text
    pair = compare_pairs(table.ranked_errors)[0]
    sure = pair.p_holm is not None and pair.p_holm <= 0.05
    assert ("errs less" in verdict) is sure
    assert ("cannot tell them apart" in verdict) is not sure
    browser.get((tmp_path / "site/vgg/v1/index.html").as_uri())
    answer = browser.find_element(By.ID, "answer")
    ties = sum(e.row.rank == table.ranked[0].row.rank for e in table.ranked[1:])
    assert answer.text.startswith(f"Least error: {best.method}, {best.mae:.2f} cells an image.")
    assert (f"cannot tell it from {ties} other" in answer.text) is (ties > 0)
    shown = answer.find_elements(By.TAG_NAME, "a")[-1].text
    browser.get((tmp_path / f"site/vgg/v1/methods/{table.ranked[0].slug}.html").as_uri())
    worst = browser.find_element(By.ID, "worst").text
    own = dict(zip(table.errors.image_ids, table.errors.absolute[0], strict=True))
    assert own[worst] == own[shown] == max(own.values())
    assert console_errors(browser) == []
