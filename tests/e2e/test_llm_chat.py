"""The example `llm-chat` in a real browser: answers outlive the page, the tab and the server, and are paid for once."""

import contextlib
import re

import pytest
import requests
from playwright.sync_api import expect

from looking import LOOKS, Witness, assert_nothing_runs_out_at_the_side, screenshot
from tour import Tour

QUESTION = "Where does a river begin?"
# The end of the stand-in's answer to that question.
LAST_WORDS = "That is more than can be said of most web pages."


class StandIn(Tour):
    """The endpoint in its own process: it survives when the chat is killed."""

    program = "HEADWATER_LLM_CHAT"
    command = ("stand-in",)

    def counts(self):
        """The number of calls, and of open ones."""
        counts = requests.get(self.url("/calls"), timeout=5).json()
        return counts["calls"], counts["open"]

    def answer(self, question):
        """The answer to a first question. Requesting it is a call."""
        body = {"model": "any", "stream": True, "messages": [{"role": "user", "content": question}]}
        answer = requests.post(self.url("/v1/chat/completions"), json=body, timeout=60)
        answer.encoding = "utf-8"
        return "".join(re.findall(r'"content":"((?:[^"\\]|\\.)*)"', answer.text)).replace("\\n", "\n")


class Chat(Tour):
    program = "HEADWATER_LLM_CHAT"


@pytest.fixture
def stand_in():
    with StandIn("--tokens-per-second", "20") as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def whole():
    """Returns the whole answer to a question, from a fast stand-in."""
    with StandIn("--tokens-per-second", "10000") as fast:
        yield fast.answer


@pytest.fixture
def chat(stand_in, tmp_path):
    with Chat("--data", str(tmp_path / "data"), "--upstream", stand_in.url("")) as chat:
        yield chat


def ask(page, question=QUESTION):
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def said(page):
    return page.locator(".said")


def has_begun(page, characters=120):
    much = re.compile(f".{{{characters},}}", re.DOTALL)
    expect(said(page).first).to_have_text(much, timeout=20_000)


def is_complete(page):
    expect(page.locator(".answer")).to_have_attribute("data-state", "complete", timeout=45_000)


def test_an_answer_comes_word_by_word(page, chat, stand_in, whole):
    page.goto(chat.url("/"))
    ask(page)
    expect(page.locator(".question")).to_have_text(QUESTION)
    has_begun(page, 10)
    assert LAST_WORDS not in said(page).text_content()
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    is_complete(page)
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false")
    assert said(page).text_content() == whole(QUESTION)
    assert stand_in.counts() == (1, 0)


def test_a_page_that_is_reloaded_in_mid_answer_goes_on(page, chat, stand_in, whole):
    page.goto(chat.url("/"))
    ask(page)
    has_begun(page)
    page.reload()
    has_begun(page)
    assert LAST_WORDS not in said(page).text_content()
    is_complete(page)
    assert said(page).count() == 1
    assert said(page).text_content().endswith(LAST_WORDS)
    assert stand_in.counts() == (1, 0)
    assert said(page).text_content() == whole(QUESTION)


def test_a_page_that_is_left_at_once_finds_the_answer_when_it_comes_back(page, chat, stand_in):
    page.goto(chat.url("/"))
    ask(page)
    page.wait_for_url("**/?chat=*")
    page.locator(".question").wait_for()
    url = page.url
    page.goto("about:blank")
    page.goto(url)
    is_complete(page)
    assert stand_in.counts() == (1, 0)


def test_a_second_tab_shows_the_same(page, chat, stand_in):
    page.goto(chat.url("/"))
    ask(page)
    has_begun(page)
    other = page.context.new_page()
    other.goto(page.url)
    has_begun(other)
    is_complete(page)
    is_complete(other)
    assert said(other).text_content() == said(page).text_content()
    assert said(other).text_content().endswith(LAST_WORDS)
    assert stand_in.counts() == (1, 0)

    # The first tab shows the question of the second.
    ask(other, "And where does it end?")
    expect(page.locator(".question").nth(1)).to_have_text("And where does it end?")
    expect(page.locator(".answer").nth(1)).to_have_attribute("data-state", "complete", timeout=45_000)
    assert stand_in.counts() == (2, 0)


def test_a_chat_that_is_killed_and_restarted_keeps_what_came_and_says_so(page, chat, stand_in, whole):
    page.goto(chat.url("/"))
    ask(page)
    has_begun(page)
    chat.kill()
    expect(page.locator("#state")).to_have_text("Reconnecting", timeout=10_000)
    before = said(page).text_content()
    chat.start()
    answer = page.locator(".answer").first
    expect(answer).to_have_attribute("data-state", "cut", timeout=45_000)
    expect(answer.locator(".status")).to_contain_text("Interrupted")
    kept = said(page).text_content()
    assert kept.startswith(before)
    assert whole(QUESTION).startswith(kept)
    assert stand_in.counts()[0] == 1

    # A reload shows the same, without duplicates.
    page.reload()
    expect(answer).to_have_attribute("data-state", "cut", timeout=20_000)
    assert said(page).all_text_contents() == [kept]
    assert stand_in.counts()[0] == 1

    # Asking again deliberately is a new call.
    page.get_by_role("button", name="Ask again").click()
    second = page.locator(".answer").nth(1)
    expect(second).to_have_attribute("data-state", "complete", timeout=45_000)
    assert second.locator(".said").text_content().endswith(LAST_WORDS)
    expect(page.locator(".question")).to_have_count(1)
    expect(page.get_by_role("button", name="Ask again")).to_have_count(0)
    assert stand_in.counts() == (2, 0)


def test_an_answer_that_was_complete_is_as_it_was_after_a_restart(page, chat, stand_in):
    page.goto(chat.url("/"))
    ask(page)
    is_complete(page)
    complete = said(page).text_content()
    chat.kill()
    chat.start()
    page.reload()
    is_complete(page)
    assert said(page).text_content() == complete
    assert stand_in.counts() == (1, 0)


def test_stop_hangs_up_on_the_model_and_keeps_what_it_said(page, chat, stand_in):
    page.goto(chat.url("/"))
    ask(page)
    has_begun(page, 60)
    assert stand_in.counts() == (1, 1)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".answer")).to_have_attribute("data-state", "stopped", timeout=2_000)
    assert stand_in.counts() == (1, 0)
    stopped = said(page).text_content()
    page.reload()
    expect(page.locator(".answer")).to_have_attribute("data-state", "stopped", timeout=10_000)
    assert said(page).text_content() == stopped
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_what_is_sent_twice_counts_once(page, chat, stand_in):
    page.goto(chat.url("/"))
    # A double click, and repeated Enter.
    page.get_by_role("button", name=QUESTION).dblclick()
    for _ in range(3):
        page.keyboard.press("Enter")
    is_complete(page)
    expect(page.locator(".question")).to_have_count(1)
    assert stand_in.counts() == (1, 0)

    # A repeated request, as after a break: its id is the same.
    path = re.search(r"chat=(\w+)", page.url)[1]
    for _ in range(3):
        body = {"id": "twice", "text": "Again?"}
        answer = requests.post(chat.url(f"/chats/{path}/messages"), json=body, timeout=30)
        assert answer.status_code == 200, answer.text
    expect(page.locator(".question")).to_have_count(2)
    expect(page.locator(".answer").nth(1)).to_have_attribute("data-state", "complete", timeout=45_000)
    assert stand_in.counts() == (2, 0)


def test_an_endpoint_that_is_gone_is_a_failure_that_says_so(page, chat, stand_in):
    stand_in.kill()
    page.goto(chat.url("/"))
    ask(page)
    answer = page.locator(".answer").first
    expect(answer).to_have_attribute("data-state", re.compile("cut|failed"), timeout=20_000)
    stand_in.start()
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer").nth(1)).to_have_attribute("data-state", "complete", timeout=45_000)
    assert stand_in.counts() == (1, 0)


def test_what_is_said_is_text_and_never_markup(page, chat):
    page.goto(chat.url("/"))
    ask(page, "<img src=x onerror=alert(1)> & <b>bold</b>")
    has_begun(page, 60)
    expect(page.locator(".question")).to_have_text("<img src=x onerror=alert(1)> & <b>bold</b>")
    assert "<img src=x onerror=alert(1)> & <b>bold</b>" in said(page).text_content()
    assert page.locator(".log img, .log b").count() == 0


@pytest.mark.alone
@pytest.mark.parametrize("look", LOOKS)
def test_the_page_looks_as_it_should(browser, chat, look):
    context = browser.new_context(**LOOKS[look])
    with contextlib.closing(context):
        page = context.new_page()
        witness = Witness(page)
        page.goto(chat.url("/"))
        expect(page.get_by_role("heading", name="Ask, and go")).to_be_visible()
        screenshot(page, f"llm-chat-welcome-{look}.png")
        ask(page)
        is_complete(page)
        ask(page, "How does water find its way, and\nwhat does it do when there is a dam?")
        expect(page.locator(".said").nth(1)).to_contain_text("stand-in", timeout=20_000)
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".answer").nth(1)).to_have_attribute("data-state", "stopped")
        assert_nothing_runs_out_at_the_side(page)
        screenshot(page, f"llm-chat-stopped-{look}.png")
        ask(page, "What happens where rivers meet?")
        expect(page.locator(".said").nth(2)).to_contain_text("stand-in", timeout=20_000)
        screenshot(page, f"llm-chat-{look}.png")
        assert_nothing_runs_out_at_the_side(page)
        witness.assert_all_is_well(chat)
