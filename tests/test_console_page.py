"""The console's page in a real Chromium: what on-call staff do at night, and what the page may not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from alerts.cases.action import Action
from alerts.delivery.text import words
from tests import chromium
from tests.chromium import DESK, PHONE, window
from tests.consoles import City, Running, another_catalogue, console
from tests.receivers import notification
from tests.test_console import GAUGE, HOME, RESIDENT, START, flood, press

Result = TypeVar("Result")
pytestmark = chromium.needed
OTHER_GAUGE = "GZ-TH-0002"
ROW = 'return document.querySelector(`li[data-id="${arguments[0]}"]`)'


@pytest.fixture(scope="module")
def storm() -> City:
    """An afternoon of the simulated day: the squall is over the city, a home calls."""
    city = City()
    start = city.simulate("day", hours=16.5)
    city.run_to(start + round(16.4 * 3_600_000))
    press(city, city.board.clock_ms)
    return city


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    city = City()
    city.tick(START)
    async with console(city) as running:
        yield running


async def aside(work: Callable[[], Result]) -> Result:
    """Selenium waits; the console goes on meanwhile."""
    return await asyncio.to_thread(work)


async def test_an_alert_appears_is_answered_in_one_window_and_closed_in_another(running: Running) -> None:
    loop = asyncio.get_running_loop()

    def night() -> None:
        with window(DESK) as here, window(PHONE, "en-US") as there:
            here.login(running.address, "admin")
            there.login(running.address, "oncall")
            case = asyncio.run_coroutine_threadsafe(raise_alert(), loop).result()
            here.until(ROW, case)
            there.until(ROW, case)
            assert "R 红色" in here.text(f'li[data-id="{case}"]')
            assert "unanswered" in there.text(f'li[data-id="{case}"]')
            assert "红色" in here.text("#urgent")  # for screen readers, at once
            there.click(f'li[data-id="{case}"] button')
            there.click("#do-ack")
            here.until(f"{ROW}?.innerText.includes('应答')", case)
            there.until("return document.querySelector('#detail .state').innerText.includes('answered by')")
            here.click(f'li[data-id="{case}"] button')
            here.click("#do-close")
            here.click('#detail input[name="satisfaction"][value="5"]')
            here.driver.find_element(By.CSS_SELECTOR, "#detail textarea").send_keys("排水车已到，<b>水退</b>")
            here.picture("closing")
            here.click("#detail form .main")
            there.until("return document.querySelector('#detail .state').innerText.includes('closed by')")
            here.until("return document.querySelector('#detail .timeline').innerText.includes('<b>水退</b>')")
            assert [w.complaints() for w in (here, there)] == [[], []]

    async def raise_alert() -> str:
        return flood(running.city, 0.3, running.city.board.clock_ms + 1000)

    await aside(night)
    closed = next(iter(running.city.board.cases.values()))
    assert (closed.state, closed.outcome, closed.satisfaction) == ("closed", "helped", 5)


async def test_a_night_can_be_worked_by_keyboard_alone(running: Running) -> None:
    case = flood(running.city, 0.3)

    def night() -> None:
        with window() as page:
            page.login(running.address, "oncall")
            page.press(Keys.TAB)
            assert page.run("return document.activeElement.className") == "skip"
            page.press(Keys.ENTER, Keys.TAB)
            page.until("return document.activeElement.matches('.row')")
            page.press(Keys.ENTER)
            page.until("return document.activeElement.id === 'detail-title'")
            page.press(Keys.TAB, Keys.TAB)
            assert page.run("return document.activeElement.id") == "do-ack"
            page.press(Keys.ENTER)
            page.until(f"{ROW}.innerText.includes('应答')", case)
            page.press(Keys.ESCAPE)
            page.until("return document.getElementById('detail').hidden")

    await aside(night)


async def test_a_press_on_a_case_that_changes_meanwhile_opens_it(running: Running) -> None:
    """A row is drawn anew at each change of its case, and the list is in another order then."""
    case = flood(running.city, 0.15)
    loop = asyncio.get_running_loop()

    async def news() -> None:
        flood(running.city, 0.3, running.city.board.clock_ms + 1000)
        flood(running.city, 0.3, running.city.board.clock_ms + 1000, OTHER_GAUGE)

    def night() -> None:
        with window() as page:
            page.login(running.address, "admin")
            page.until(ROW, case)
            pressing = webdriver.ActionChains(page.driver, duration=10)
            row = page.driver.find_element(By.CSS_SELECTOR, f'li[data-id="{case}"] button')
            pressing.click_and_hold(row).perform()
            asyncio.run_coroutine_threadsafe(news(), loop).result()
            page.until("return import('/files/server.js').then(({state}) => state.items.size === 2)")
            webdriver.ActionChains(page.driver, duration=10).release().perform()
            page.until("return document.querySelector('#detail-title')?.innerText.includes('红色')")
            assert GAUGE in page.text("#detail .where")
            page.until("return document.querySelectorAll('#list li .level-4').length >= 2")

    await aside(night)


async def test_the_link_of_a_message_opens_its_case_before_and_after_a_login(running: Running) -> None:
    case, other = flood(running.city, 0.3), press(running.city)
    shows = (
        "const it = document.getElementById('detail'); return it && !it.hidden && it.innerText.includes(arguments[0])"
    )

    def link(case: str) -> str:
        told = notification().model_copy(update={"case": case})
        return words(told, "zh", running.address).body.rpartition(" ")[2]

    def night() -> None:
        with window(PHONE) as page:
            page.driver.get(link(case))
            page.until("return location.pathname === '/login'")
            page.enter("carer")
            page.until(shows, "无权查看")
            page.click("#detail .back")
            assert page.run("return document.getElementById('detail').hidden")
            page.driver.get(link(other))
            page.until(shows, HOME)
        with window() as page:
            page.driver.get(link(case))
            page.until("return location.pathname === '/login'")
            page.enter("oncall")
            page.until(shows, GAUGE)
            page.click("#do-ack")
            page.until(shows, "应答")
            page.driver.get("data:text/html,<a href='" + link(case) + "'>a mail's link</a>")
            page.click("a")  # from another site: without the cookie, at first
            page.until(shows, GAUGE)

    await aside(night)


async def test_after_logout_and_when_cut_off_the_page_says_so(running: Running) -> None:
    def night() -> None:
        with window() as page:
            page.login(running.address, "viewer")
            assert page.run("return document.getElementById('trouble').hidden")
            asyncio.run_coroutine_threadsafe(cut(), loop).result()
            page.until("return !document.getElementById('trouble').hidden")
            assert "断开" in page.text("#trouble")
            page.until("return document.getElementById('trouble').hidden")  # it came back by itself
            page.click("#leave")
            page.until("return location.pathname === '/login'")

    async def cut() -> None:
        for connection in list(running.server.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]

    loop = asyncio.get_running_loop()
    await aside(night)


async def test_sound_wants_a_click_and_the_page_says_so(running: Running) -> None:
    def night() -> None:
        with window() as page:
            page.login(running.address, "viewer")
            assert "响铃" in page.text("#hint")
            page.click("#sound")
            page.until("return document.getElementById('hint').hidden")
            assert page.run("return document.getElementById('sound').ariaPressed") == "true"

    await aside(night)


async def test_the_map_has_all_levels_by_shape_and_letter_and_fits_every_screen(storm: City) -> None:
    async with console(storm) as running:

        def look(size: tuple[int, int], name: str, lang: str, query: str, pictures: str) -> list[str]:
            with window(size, lang) as page:
                page.login(running.address, name, query)
                if size == PHONE:
                    page.picture(f"{pictures}-list")
                    page.click("[data-part=map-part]")
                page.until(f"{MAP}.getOption().series?.length > 5")
                option = page.run(f"{MAP.replace('return ', 'const map = ')}; {DRAWN}")
                assert option["shapes"] == ["circle", "triangle", "diamond", "rect"]
                assert option["letters"] <= "BORY"
                assert option["letters"]
                assert option["districts"] == 11
                width = page.run("return document.getElementById('map').clientWidth")
                assert width > 350  # a map 100 px wide measures as well
                assert page.run("return document.documentElement.scrollWidth") <= size[0]
                page.until("return new Promise((done) => setTimeout(() => done(true), 300))")
                page.picture(f"{pictures}-map")
                if not query:
                    if size == PHONE:
                        page.click("[data-part=figures-part]")
                    page.until("return document.querySelectorAll('#figures td').length > 0")
                    assert page.run(WIDER) == [], "figures that have to be scrolled sideways"
                    page.picture(f"{pictures}-figures")
                if size == PHONE:
                    page.click("[data-part=list-part]")
                page.click("#list li:first-child button")
                page.until("return document.querySelectorAll('#detail canvas, #detail .charts p').length > 0")
                small = page.run(SMALL)
                assert small == [], "buttons that a thumb misses"
                page.picture(f"{pictures}-detail")
                assert page.complaints() == []
                return page.requested()

        for size, name, lang, query, pictures in (
            (DESK, "admin", "zh-CN", "", "desk"),
            (PHONE, "admin", "zh-CN", "", "phone"),
            (DESK, "viewer", "en-US", "?wall", "wall"),
        ):
            requested = await aside(lambda: look(size, name, lang, query, pictures))
            foreign = [url for url in requested if running.address.split("//")[1] not in url]
            assert [url for url in foreign if url.startswith(("http", "ws"))] == []


async def test_a_carer_sees_their_home_and_no_city(storm: City) -> None:
    async with console(storm) as running:

        def night() -> str:
            with window(PHONE) as page:
                page.login(running.address, "carer")
                page.until("return document.querySelectorAll('#list li').length > 0")
                page.picture("carer")
                return page.text("#list")

        assert HOME in (text := await aside(night))
        assert "内涝" not in text
    assert GAUGE not in text


async def test_a_carer_sees_who_lives_there_and_that_it_is_on_record(running: Running) -> None:
    case = press(running.city, START)

    def night() -> None:
        for lang, name in (("zh-CN", "carer"), ("en-US", "admin")):
            with window(PHONE, lang) as page:
                page.login(running.address, name)
                page.until(ROW, case)
                page.click(f'li[data-id="{case}"] button')
                page.until("return document.querySelectorAll('#detail .timeline li').length === 3")
                lines = page.run(
                    "return [...document.querySelectorAll('#detail .timeline li')].map((li) => li.innerText)"
                )
                assert ["通知" in lines[1] or "telling" in lines[1], "sms" in lines[2]] == [True, True]
                page.click("#do-resident")
                page.until("return document.querySelector('#detail .resident') !== null")
                assert RESIDENT in page.text("#detail .resident")
                assert page.run("return document.querySelector('#detail .resident a').href").startswith("tel:")
                page.picture(f"resident-{name}")
                page.click("#do-resident")
                page.until("return document.querySelector('#detail .resident') === null")
                assert page.complaints() == []
        with window(DESK) as page:
            page.login(running.address, "oncall")
            page.until(ROW, case)
            page.click(f'li[data-id="{case}"] button')
            page.until("return document.querySelector('#do-ack') !== null")
            assert page.run("return document.querySelector('#do-resident')") is None

    await aside(night)
    assert {home for _, home in running.audit.lines} == {HOME}
    assert {"p-003", "p-004"} <= {by for by, _ in running.audit.lines}


async def test_other_sites_and_rules_come_to_an_open_page(running: Running) -> None:
    city = running.city
    case = flood(city, 0.3)

    async def change() -> None:
        city.configure(another_catalogue(GAUGE, "新名字"), city.rulebook)

    def night() -> None:
        fetched = "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/city')).length"
        with window(DESK) as page:
            page.login(running.address, "viewer")
            page.until(ROW, case)
            asyncio.run_coroutine_threadsafe(change(), loop).result()
            page.until(f"{ROW}.innerText.includes('新名字')", case)
            page.until(f"{fetched} === 2")
            assert page.complaints() == []

    loop = asyncio.get_running_loop()
    await aside(night)


async def test_what_is_under_a_red_risk_is_not_below_what_was_answered_and_rings(storm: City) -> None:
    cases = [case for case in storm.board.cases.values() if case.closed is None and case.highest == 4]
    under = next(case for case in cases if case.group and case.state != "acknowledged")

    def night(address: str) -> None:
        with window() as page:
            page.login(address, "admin")
            page.until(ROW, under.id)
            listed = page.run(LISTED)
            answered = [n for n, (_, state, _, _) in enumerate(listed) if state == "acknowledged"]
            place = next(n for n, (name, *_) in enumerate(listed) if name == under.id)
            assert answered
            assert place < min(answered)
            waiting = [level for _, state, level, _ in listed if state in ("open", "notified", "alert")]
            assert waiting == sorted(waiting, reverse=True)
            assert page.run("return import('/files/list.js').then((list) => list.ringing())")

    async with console(storm) as running:
        for number, case in enumerate(cases):
            if case.id != under.id:  # the risk itself is answered
                action = {"id": f"all-{number}", "do": "ack", "by": "p-004", "at": storm.board.clock_ms}
                await storm.submit(Action.model_validate(action | {"case": case.id}))
        await aside(lambda: night(running.address))


MAP = "return echarts.getInstanceByDom(document.getElementById('map'))"
DRAWN = """
const series = map.getOption().series;
const levels = series.filter((one) => one.id.startsWith("level-"));
const letters = new Set(levels.flatMap((one) => one.data.map((point) => point.label.formatter[0])));
return { shapes: levels.map((one) => one.symbol), letters: [...letters].sort().join(""), districts: series.find((one) => one.id === "districts").data.length };
"""
LISTED = """
return import("/files/server.js").then(({ state }) => [...document.querySelectorAll("#list li")].map((li) => state.items.get(li.dataset.id))
  .map((item) => [item.id, item.state, item.level || item.highest - 0.5, item.group]));
"""
WIDER = """
return [...document.querySelectorAll("#list, #duty, #figures")].filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.id);
"""
SMALL = """
return [...document.querySelectorAll("button")].filter((one) => one.offsetParent && one.offsetHeight < 34).map((one) => one.outerHTML);
"""
