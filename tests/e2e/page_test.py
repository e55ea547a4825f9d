#!/usr/bin/env python3
"""The server's page in Debian's Chromium: send, stream, stop, errors, edit and retry, what a reload keeps, the layers view,
keys alone, dark and light, narrow screens. With SCREENSHOTS=folder, pictures of it are put there."""

import os
import pathlib
import re
import time
import unittest

from served import CHAT, Server, need

CHROMIUM = "/usr/bin/chromium"
need(["playwright"], [CHAT], [CHROMIUM])

from playwright.sync_api import expect, sync_playwright  # noqa: E402

PICTURES = os.environ.get("SCREENSHOTS")
expect.set_options(timeout=200_000)


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"chat={CHAT}", "--ctx", "1024", "--parallel", "4", "--watch-every", "2", key=None)
        cls.playwright = sync_playwright().start()
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()
        assert cls.server.end() == 0

    def setUp(self):
        self.context = self.new_context()
        self.page = self.open(self.context)

    def tearDown(self):
        self.context.close()
        self.assertEqual(self.faults, [])
        self.assertEqual(self.strangers, [])

    def new_context(self, **options):
        return self.browser.new_context(permissions=["clipboard-read", "clipboard-write"], **{"viewport": {"width": 1200, "height": 800}, **options})

    def open(self, context):
        """The page, ready; faults of its script and requests to elsewhere are noted."""
        page = context.new_page()
        self.faults, self.strangers = [], []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith((self.server.address, "data:")) else self.strangers.append(request.url))
        page.goto(self.server.address)
        expect(page.locator("#model option")).to_have_text("chat")
        return page

    def settings(self, **values):
        self.page.click("#open")
        for name, value in values.items():
            self.page.fill(f"#{name}", str(value))
            self.page.locator(f"#{name}").blur()
        self.page.click("#open")

    def ask(self, text, wait=True):
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")
        if wait:
            expect(self.page.locator("#send")).to_have_text("Send")

    def answer(self, index=-1):
        found = self.page.locator("article.assistant .text").all()
        return found[index].inner_text()

    def picture(self, name, page=None):
        if PICTURES:
            (page or self.page).screenshot(path=str(pathlib.Path(PICTURES) / f"{name}.png"))

    def test_send_and_stream(self):
        self.settings(temperature=0, max_tokens=60)
        # The page notes what it shows by itself: a busy machine may look at it too seldom.
        self.page.evaluate("""() => {
            window.shown = [];
            const note = () => window.shown.push([document.querySelector("#state").textContent,
                                                  document.querySelector("article.assistant .text")?.innerText ?? ""]);
            new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
        }""")
        self.ask("Write a short poem about the sea.")
        whole = self.answer()
        early = [text for state, text in self.page.evaluate("window.shown") if state == "writing" and text]
        self.assertTrue(any(len(text) < len(whole) and whole.startswith(text.rstrip()) for text in early), early[:3])
        expect(self.page.locator("article.assistant .stats")).to_contain_text("60 written")
        self.ask("And one about a hill?")
        self.assertEqual(self.page.locator("article").count(), 4)
        expect(self.page.locator("article.assistant .stats").last).to_contain_text("kept")  # of the first turn
        self.picture("light")

    def test_stop_and_go_on(self):
        self.settings(temperature=0, max_tokens=800)
        self.ask("Tell a long story about a ship and its crew.", wait=False)
        expect(self.page.locator("article.assistant .text")).to_have_text(re.compile(r".{12}"))
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#state")).to_have_text("stopped")
        part = self.answer()
        end = time.monotonic() + 20
        while self.server.metrics()['lamina_requests_running{model="chat"}'] and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.server.metrics()['lamina_requests_running{model="chat"}'], 0)
        self.assertEqual(self.answer(), part)
        self.settings(max_tokens=8)
        self.page.get_by_role("button", name="Go on").click()
        expect(self.page.locator("#send")).to_have_text("Send")
        self.assertEqual(self.page.locator("article").count(), 2)
        self.assertGreater(len(self.answer()), len(part))

    def test_errors_are_shown(self):
        self.ask("word " * 1500)
        expect(self.page.get_by_role("alert")).to_contain_text("1024")
        self.picture("error")
        self.context.set_offline(True)
        self.page.get_by_role("button", name="Retry").click()
        expect(self.page.get_by_role("alert")).to_have_text("The server cannot be reached.")
        self.context.set_offline(False)
        self.page.get_by_role("button", name="Edit").click()
        self.page.locator(".edit textarea").fill("Say hello.")
        self.page.locator(".edit textarea").press("Enter")
        expect(self.page.locator("#send")).to_have_text("Send")
        expect(self.page.get_by_role("alert")).to_have_count(0)
        self.assertTrue(self.answer())

    def test_edit_and_retry(self):
        self.settings(temperature=0, max_tokens=12)
        self.ask("Name a colour.")
        first = self.answer()
        self.page.get_by_role("button", name="Retry").click()
        expect(self.page.locator("#send")).to_have_text("Send")
        self.assertEqual(self.answer(), first)
        self.page.get_by_role("button", name="Edit").click()
        self.page.locator(".edit textarea").press("Escape")
        self.assertEqual(self.page.locator("article.user .text").inner_text(), "Name a colour.")
        self.page.get_by_role("button", name="Edit").click()
        self.page.locator(".edit textarea").fill("Name an animal.")
        self.page.locator(".edit").get_by_role("button", name="Send").click()
        expect(self.page.locator("#send")).to_have_text("Send")
        self.assertEqual(self.page.locator("article.user .text").all_inner_texts(), ["Name an animal."])
        self.assertNotEqual(self.answer(), first)
        self.page.locator("article.assistant").get_by_role("button", name="Copy").first.click()
        self.assertEqual(self.page.evaluate("navigator.clipboard.readText()").split(), self.answer().split())

    def test_a_reload_keeps_conversations(self):
        self.settings(max_tokens=8, system="You are brief.")
        self.ask("Say one.")
        self.page.click("#new")
        self.ask("Say two.")
        before = self.page.locator("article").all_inner_texts()
        self.page.reload()
        expect(self.page.locator("article.user .text")).to_have_text("Say two.")
        self.assertEqual(self.page.locator("article").all_inner_texts(), before)
        self.assertEqual(self.page.locator("#list .choose").all_inner_texts(), ["Say two.", "Say one."])
        self.assertEqual(self.page.input_value("#system"), "You are brief.")
        other = self.context.new_page()  # a second tab adds its own, and takes nothing away
        other.goto(self.server.address)
        other.click("#new")
        other.fill("#text", "Say three.")
        other.press("#text", "Enter")
        expect(other.locator("#list .choose")).to_have_count(3)
        expect(other.locator("#send")).to_have_text("Send")
        expect(self.page.locator("#list .choose")).to_have_count(3)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.get_by_role("button", name="Delete: Say one.").click()
        self.page.reload()
        self.assertEqual(self.page.locator("#list .choose").all_inner_texts(), ["Say three.", "Say two."])

    def test_markup_stays_text(self):
        made = "Look:\n```html\n<img src=x onerror=alert(1)>\n```\nand <b>`a<i>`</b> **bold**"
        self.page.evaluate("""text => { talk.messages.push({role: "user", content: "?"}, {role: "assistant", content: text}); draw(); }""", made)
        text = self.page.locator("article.assistant .text")
        self.assertEqual(text.locator("img, b, i").count(), 0)
        self.assertEqual(text.locator("pre").inner_text(), "<img src=x onerror=alert(1)>")
        self.assertEqual(text.locator("strong").inner_text(), "bold")
        text.locator(".block button").click()
        self.assertEqual(self.page.evaluate("navigator.clipboard.readText()"), "<img src=x onerror=alert(1)>")

    def test_layers(self):
        self.settings(max_tokens=20)
        self.page.click("#look")
        self.ask("Tell me about rain.")
        rows = self.page.locator("#layers-rows tr")
        expect(rows).to_have_count(32)
        names = self.page.locator("#layers-rows th").all_inner_texts()
        self.assertEqual(names, ["embedding", *map(str, range(30)), "head"])
        for column in (1, 2):
            shares = [float(row.split()[0]) for row in self.page.locator(f"#layers-rows td:nth-child({column + 1})").all_inner_texts()]
            self.assertAlmostEqual(sum(shares), 100, delta=2)
        self.assertRegex(self.page.inner_text("#layers-sum"), r"^[\d.]+ ms and \d+ MB a step, [\d.]+ [GM]B/s")
        widths = self.page.eval_on_selector_all("#layers-rows .bars", "all => all.map(one => one.firstChild.getBoundingClientRect().width)")
        self.assertTrue(any(width > 5 for width in widths))
        before = self.page.inner_text("#layers-sum")
        self.picture("layers")
        self.ask("And about snow.")
        expect(self.page.locator("#layers-sum")).not_to_have_text(before)  # it lives
        self.page.select_option("#layers-kind", "reading")
        expect(self.page.locator("#layers-sum")).to_contain_text("a step")

    def test_keys_alone(self):
        keyboard = self.page.keyboard
        keyboard.press("Alt+s")
        keyboard.type("0")  # the temperature
        for _ in range(5):
            keyboard.press("Tab")
        keyboard.type("5")  # the most tokens
        keyboard.press("Alt+s")
        self.page.locator("#text").focus()
        keyboard.type("Say hello.")
        keyboard.press("Shift+Enter")
        keyboard.type("Now.")
        keyboard.press("Enter")
        expect(self.page.locator("article.assistant .stats")).to_contain_text("written")
        self.assertEqual(self.page.locator("article.user .text").inner_text(), "Say hello.\nNow.")
        keyboard.press("Alt+n")
        self.assertEqual(self.page.locator("article").count(), 0)
        keyboard.press("Alt+ArrowDown")
        self.assertEqual(self.page.locator("article").count(), 2)
        keyboard.press("Alt+l")
        self.assertTrue(self.page.locator("#layers").is_visible())
        keyboard.press("Escape")
        self.assertFalse(self.page.locator("#layers").is_visible())
        reached = set()
        for _ in range(30):
            keyboard.press("Tab")
            reached.add(self.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        for name in ("new", "theme", "keys", "model", "open", "look", "text", "send", "talk", "Copy", "Edit", "Retry"):
            self.assertIn(name, reached)
        self.page.locator("#look").focus()
        keyboard.press("?")
        self.assertTrue(self.page.locator("#help").is_visible())
        self.picture("keys")
        keyboard.press("Escape")
        self.assertFalse(self.page.locator("#help").is_visible())

    def test_dark_and_light(self):
        def back(page):
            return page.evaluate("getComputedStyle(document.body).backgroundColor")

        light = back(self.page)
        self.page.click("#theme")
        self.assertNotEqual(back(self.page), light)
        self.page.reload()
        self.assertNotEqual(back(self.page), light)  # it is kept
        self.page.click("#theme")
        self.assertEqual(back(self.page), light)
        context = self.new_context(color_scheme="dark")
        self.addCleanup(context.close)
        self.page = self.open(context)
        self.assertNotEqual(back(self.page), light)
        self.settings(temperature=0, max_tokens=48)
        self.page.click("#look")
        self.ask("Show a loop in Python in a block of code.")
        self.picture("dark")

    def test_narrow(self):
        context = self.new_context(viewport={"width": 360, "height": 640}, has_touch=True)
        self.addCleanup(context.close)
        self.page = page = self.open(context)
        self.settings(max_tokens=12)
        self.ask("averyveryverylongword" * 8 + " What is that?")
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        self.picture("narrow")
        page.click("#menu")
        self.assertTrue(page.locator("#list").is_visible())
        self.picture("narrow-menu")
        page.click("#new")
        self.assertFalse(page.locator("#list").is_visible())
        page.click("#look")
        expect(page.locator("#layers-rows tr").first).to_be_visible()
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        self.picture("narrow-layers")
        page.click("#layers-close")
        page.click("#open")
        self.picture("narrow-settings")
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)


if __name__ == "__main__":
    unittest.main()
