// Asking the server, and what comes of it.
let running = null;  // what stops the answer that is being written

function headers() {
  const key = sessionStorage.getItem(KEY);
  return { "Content-Type": "application/json", ...(key ? { Authorization: "Bearer " + key } : {}) };
}

async function failure(response) {
  try { return (await response.json()).error.message; } catch { return "The server answered " + response.status + "."; }
}

async function ask(path, options = {}) {
  try {
    const response = await fetch(path, { headers: headers(), ...options });
    if (!response.ok) {
      if (response.status === 401) openSettings(true);
      throw new Error(await failure(response));
    }
    return response;
  } catch (error) {
    throw error instanceof TypeError ? new Error("The server cannot be reached.") : error;
  }
}

async function loadModels() {
  try {
    const models = (await (await ask("v1/models")).json()).data.filter((one) => one.task === "generate");
    at("model").replaceChildren(...models.map((one) => made("option", { value: one.id, textContent: one.id })));
    if (models.some((one) => one.id === settings.model)) at("model").value = settings.model;
    say(models.length ? "" : "No model here can chat.");
  } catch (error) { say(error.message); }
}

function stop() { if (running) running.abort(); }

function request(messages, continues) {
  const sent = messages.filter((one) => one.content).map(({ role, content }) => ({ role, content }));
  if (settings.system) sent.unshift({ role: "system", content: settings.system });
  const body = { model: at("model").value, messages: sent, stream: true, stream_options: { include_usage: true } };
  for (const name of NUMBERS) if (settings[name] !== "") body[name] = Number(settings[name]);
  if (settings.stop) body.stop = settings.stop;
  if (continues) Object.assign(body, { continue_final_message: true, add_generation_prompt: false });
  return body;
}

async function readEvents(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let done = false;
  for (;;) {
    const piece = await reader.read();
    if (piece.done) break;
    const parts = (rest + piece.value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (part === "data: [DONE]") done = true;
      else if (part.startsWith("data: ")) take(JSON.parse(part.slice(6)));
    }
  }
  if (!done) throw new Error("The answer broke off.");
}

function statsOf(usage, begun, first) {
  const cached = usage.prompt_tokens_details?.cached_tokens;
  const seconds = (performance.now() - first) / 1000;
  const speed = usage.completion_tokens > 1 ? `, ${((usage.completion_tokens - 1) / seconds).toFixed(1)} tokens/s` : "";
  return `${usage.prompt_tokens} tokens read${cached ? ` (${cached} kept)` : ""}, ${usage.completion_tokens} written, first after ${Math.round(first - begun)} ms${speed}`;
}

// Lets the model answer the conversation, or go on with its last message.
async function answer(continues = false) {
  stop();
  const own = talk;
  const message = continues ? own.messages.at(-1) : { role: "assistant", content: "" };
  const body = request(own.messages, continues);
  message.model = body.model;
  delete message.error;
  delete message.finish;
  if (!continues) own.messages.push(message);
  const control = running = new AbortController();
  draw();
  const begun = performance.now();
  let first = 0, usage = null;
  showBusy(true);
  say("reading");
  try {
    const response = await ask("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal: control.signal });
    await readEvents(response, (event) => {
      if (event.error) throw new Error(event.error.message);
      usage = event.usage || usage;
      const choice = event.choices[0];
      if (!choice) return;
      message.finish = choice.finish_reason || message.finish;
      if (!choice.delta.content) return;
      if (!first) { first = performance.now(); say("writing"); }
      message.content += choice.delta.content;
      drawSoon(message);
    });
    if (usage) message.stats = statsOf(usage, begun, first || performance.now());
    say(message.finish === "length" ? "The answer is as long as it may be." : "");
  } catch (error) {
    if (error.name === "AbortError") { message.finish = "stopped"; say("stopped"); }
    else { message.error = error.message; say(""); }
  }
  if (running === control) { running = null; showBusy(false); }
  own.changed = Date.now();
  if (own.removed) return;
  keepTalk(own);
  readTalks();
  if (talk === own) draw(); else drawList();
}
