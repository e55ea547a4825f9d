// The page itself: drawing, buttons and keys.
const at = (id) => document.getElementById(id);
const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repeat_penalty", "max_tokens", "seed"];
let editing = -1;  // the message that is being edited

function say(text) { at("state").textContent = text; }
function showBusy(busy) { at("send").textContent = busy ? "Stop" : "Send"; }

function choose(one) { stop(); editing = -1; openTalk(one); showMenu(false); draw(); at("text").focus(); }

function drawList() {
  at("list").replaceChildren(...talks.map((one) => {
    const title = titleOf(one);
    const pick = made("button", { type: "button", className: "choose", textContent: title, title, onclick: () => choose(one) });
    const remove = made("button", { type: "button", className: "remove", textContent: "×", ariaLabel: "Delete: " + title, onclick: () => {
      if (one.messages.length && !confirm("Delete this conversation?")) return;
      if (one === talk) stop();
      one.removed = true;
      removeTalk(one);
      draw();
    } });
    const item = made("li", {}, pick, remove);
    item.setAttribute("aria-current", one === talk);
    return item;
  }));
}

function editor(message, index) {
  const area = made("textarea", { value: message.content, ariaLabel: "Your message" });
  const done = () => {
    const text = area.value.trim();
    if (!text) return;
    stop();
    editing = -1;
    talk.messages.length = index;
    talk.messages.push({ role: "user", content: text });
    answer();
    at("text").focus();
  };
  const leave = (event) => { event?.stopPropagation(); editing = -1; draw(); at("text").focus(); };
  area.onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); done(); }
    if (event.key === "Escape") leave(event);
  };
  return made("div", { className: "edit" }, area, made("div", { className: "row" },
    made("button", { type: "button", textContent: "Send", onclick: done }), made("button", { type: "button", textContent: "Leave as it was", onclick: leave })));
}

function buttonsOf(message, index) {
  const last = index === talk.messages.length - 1;
  const button = (textContent, onclick) => made("button", { type: "button", textContent, onclick });
  const buttons = [button("Copy", (event) => copy(message.content, event.target))];
  if (message.role === "user") buttons.push(button("Edit", () => { editing = index; draw(); }));
  else {
    if (last && message.content && !running && ["length", "stopped"].includes(message.finish)) buttons.push(button("Go on", () => answer(true)));
    buttons.push(button("Retry", () => retry(index)));
  }
  return buttons;
}

function drawMessage(message, index) {
  const busy = running && message.role === "assistant" && index === talk.messages.length - 1;
  const head = made("div", { className: "head" }, made("span", { textContent: message.role === "user" ? "You" : message.model || "Model" }), ...buttonsOf(message, index));
  const article = made("article", { className: message.role + (busy ? " busy" : "") }, head);
  article.append(index === editing ? editor(message, index) : made("div", { className: "text" }, ...elementsOf(message.content)));
  if (message.error) article.append(made("div", { className: "error", role: "alert", textContent: message.error }));
  if (message.stats && !busy) article.append(made("div", { className: "stats", textContent: message.stats }));
  return article;
}

function draw() {
  drawList();
  const pane = at("talk");
  pane.replaceChildren(...talk.messages.map(drawMessage));
  if (!talk.messages.length) pane.append(made("p", { className: "empty", textContent: "Ask something. Press ? outside of a text for the keys." }));
  const area = pane.querySelector(".edit textarea");
  if (area) { area.focus(); area.scrollIntoView({ block: "nearest" }); } else pane.scrollTop = pane.scrollHeight;
}

// At most one drawing a frame, however fast tokens come; follows the end unless the reader has gone up.
let drawing = 0;
function drawSoon(message) {
  if (drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    const pane = at("talk");
    const index = talk.messages.indexOf(message);
    if (index < 0 || !pane.children[index]) return;
    const follows = pane.scrollTop + pane.clientHeight > pane.scrollHeight - 80;
    pane.children[index].querySelector(".text")?.replaceChildren(...elementsOf(message.content));
    if (follows) pane.scrollTop = pane.scrollHeight;
  });
}

function retry(index) { stop(); talk.messages.length = index; answer(); }
function lastOf(role) { return talk.messages.findLastIndex((one) => one.role === role); }

function openSettings(open) { at("settings").hidden = !open; at("open").setAttribute("aria-expanded", open); }
function showMenu(open) { document.body.classList.toggle("menu", open); at("menu").setAttribute("aria-expanded", open); }
function showSettings() { for (const name in DEFAULTS) at(name).value = settings[name]; }
function showTheme() {
  if (settings.theme) document.documentElement.dataset.theme = settings.theme;
  else delete document.documentElement.dataset.theme;
  at("theme").textContent = { "": "Auto", dark: "Dark", light: "Light" }[settings.theme];
}

function grow() {
  const area = at("text");
  area.style.height = "";
  area.style.height = Math.max(area.scrollHeight + 2, 42) + "px";
}

at("say").onsubmit = (event) => {
  event.preventDefault();
  if (running) return stop();
  const text = at("text").value.trim();
  if (!text) return;
  at("text").value = "";
  grow();
  editing = -1;
  talk.messages.push({ role: "user", content: text });
  talk.changed = Date.now();
  keepTalk(talk);
  readTalks();
  answer();
};
at("text").oninput = grow;
at("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); if (!running) at("say").requestSubmit(); }
};

const KEYS = {
  n: () => at("new").click(),
  s: () => { openSettings(at("settings").hidden); if (!at("settings").hidden) at("temperature").focus(); },
  l: () => openLayers(at("layers").hidden),
  d: () => at("theme").click(),
  e: () => { const index = lastOf("user"); if (index >= 0) { editing = index; draw(); } },
  r: () => { const index = lastOf("assistant"); if (index >= 0) retry(index); },
  c: () => { const index = lastOf("assistant"); if (index >= 0) copy(talk.messages[index].content); },
  arrowup: () => choose(talks[Math.max(talks.indexOf(talk) - 1, 0)]),
  arrowdown: () => choose(talks[Math.min(talks.indexOf(talk) + 1, talks.length - 1)]),
};
document.onkeydown = (event) => {
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName);
  if (event.key === "Escape" && !at("help").open) {
    if (running) stop();
    else if (document.body.classList.contains("menu")) showMenu(false);
    else if (!at("layers").hidden) openLayers(false);
    else openSettings(false);
  } else if (event.key === "?" && !typing) {
    at("help").showModal();
  } else if (event.altKey && !event.ctrlKey && !event.metaKey && KEYS[event.key.toLowerCase()]) {
    event.preventDefault();
    KEYS[event.key.toLowerCase()]();
  }
};

at("new").onclick = () => choose(talk.messages.length ? freshTalk() : talk);
at("menu").onclick = () => showMenu(!document.body.classList.contains("menu"));
at("open").onclick = () => openSettings(at("settings").hidden);
at("look").onclick = () => openLayers(at("layers").hidden);
at("layers-close").onclick = () => { openLayers(false); at("look").focus(); };
at("layers-kind").onchange = drawLayers;
at("layers-model").onchange = () => { watch.last = null; lookAtLayers(); };
at("keys").onclick = () => at("help").showModal();
at("model").onchange = () => { settings.model = at("model").value; keepSettings(); };
at("theme").onclick = () => { settings.theme = { "": "dark", dark: "light", light: "" }[settings.theme] ?? ""; showTheme(); keepSettings(); };
at("reset").onclick = () => { Object.assign(settings, DEFAULTS); showSettings(); keepSettings(); };
at("settings").onsubmit = (event) => event.preventDefault();
for (const name in DEFAULTS) {
  at(name).onchange = () => {
    if (!at(name).checkValidity()) { at(name).reportValidity(); return; }
    settings[name] = at(name).value;
    keepSettings();
  };
}
at("key").value = sessionStorage.getItem(KEY) || "";
at("key").onchange = () => { sessionStorage.setItem(KEY, at("key").value); loadModels(); };
addEventListener("storage", () => { readTalks(); drawList(); });
addEventListener("pagehide", () => keepTalk(talk));

showTheme();
showSettings();
openLastTalk();
draw();
loadModels();
at("text").focus();
