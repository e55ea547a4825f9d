// What the browser keeps: settings under one name, each conversation under its own, so that two tabs do not overwrite
// each other's. The API key stays in the tab.
const SETTINGS = "lamina", TALK = "lamina-talk-", CURRENT = "lamina-current", KEY = "lamina-key";
const DEFAULTS = { temperature: "0.2", top_p: "0.9", top_k: "", min_p: "", repeat_penalty: "", max_tokens: "", seed: "", stop: "", system: "" };

function stored(store, name, otherwise) {
  try { return JSON.parse(store.getItem(name)) ?? otherwise; } catch { return otherwise; }
}

function store(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); } catch (error) { say("The browser keeps no more: " + error.message); }
}

const settings = { theme: "", model: "", ...DEFAULTS, ...stored(localStorage, SETTINGS, {}) };
let talks = [];
let talk = null;

function keepSettings() { store(SETTINGS, settings); }

function freshTalk() { return { id: Date.now().toString(36) + Math.random().toString(36).slice(2, 8), changed: Date.now(), messages: [] }; }

// A conversation without messages is not worth keeping.
function keepTalk(one) {
  if (one.messages.length) store(TALK + one.id, one);
  else localStorage.removeItem(TALK + one.id);
}

function readTalks() {
  const found = [];
  for (let i = 0; i < localStorage.length; ++i) {
    const name = localStorage.key(i);
    const one = name.startsWith(TALK) ? stored(localStorage, name, null) : null;
    if (one && Array.isArray(one.messages)) found.push(talk && one.id === talk.id ? talk : one);
  }
  if (talk && !found.includes(talk)) found.push(talk);
  talks = found.sort((a, b) => b.changed - a.changed);
}

function openTalk(one) {
  talk = one;
  sessionStorage.setItem(CURRENT, JSON.stringify(one.id));
  localStorage.setItem(CURRENT, JSON.stringify(one.id));
  readTalks();
}

function openLastTalk() {
  readTalks();
  const id = stored(sessionStorage, CURRENT, null) ?? stored(localStorage, CURRENT, null);
  openTalk(talks.find((one) => one.id === id) || talks[0] || freshTalk());
}

function removeTalk(one) {
  localStorage.removeItem(TALK + one.id);
  const index = talks.indexOf(one);
  if (one !== talk) { readTalks(); return; }
  talk = null;
  readTalks();
  openTalk(talks[Math.min(index, talks.length - 1)] || freshTalk());
}

function titleOf(one) { return one.messages.length ? one.messages[0].content.slice(0, 80) : "New conversation"; }
