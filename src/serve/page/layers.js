// The layers view: what each layer took of the time and of the bytes of the last steps, from the growing sums of
// /v1/layers.
const LOOK_MS = 1000, WINDOW = 5;
const watch = { timer: 0, last: null, recent: {} };

function bytesText(bytes) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 1000 || unit === "GB") return `${bytes < 10 && unit !== "B" ? bytes.toFixed(1) : Math.round(bytes)} ${unit}`;
    bytes /= 1000;
  }
}

// What has come to the sums of a kind of step since the look before; null: no step was watched.
function growth(now, before, kind) {
  const steps = now[kind].steps - (before ? before[kind].steps : 0);
  if (steps <= 0) return null;
  const parts = now.parts.map((part, index) => {
    const old = before && before.parts[index];
    const same = old && old.visit === part.visit && old.part === part.part;
    return { ...part, seconds: part[kind].seconds - (same ? old[kind].seconds : 0), bytes: part[kind].bytes - (same ? old[kind].bytes : 0) };
  });
  return { steps, seconds: now[kind].seconds - (before ? before[kind].seconds : 0), parts };
}

function summed(list) {
  const sum = { steps: 0, seconds: 0, parts: [] };
  for (const one of list) {
    sum.steps += one.steps;
    sum.seconds += one.seconds;
    one.parts.forEach((part, index) => {
      const into = sum.parts[index] ||= { ...part, seconds: 0, bytes: 0 };
      into.seconds += part.seconds;
      into.bytes += part.bytes;
    });
  }
  return sum;
}

// Parts of one visit of a layer in one row; the embedding before, the head after.
function rowsOf(sum) {
  const rows = new Map();
  for (const part of sum.parts) {
    const name = part.visit === null ? part.part : `${part.visit}`;
    if (!rows.has(name)) rows.set(name, { visit: part.visit, layer: part.layer, name: part.visit === null ? part.part : `${part.layer}`, parts: [], seconds: 0, bytes: 0 });
    const row = rows.get(name);
    row.parts.push(part);
    row.seconds += part.seconds;
    row.bytes += part.bytes;
  }
  const place = (row) => (row.visit !== null ? row.visit : row.name === "head" ? Infinity : -1);
  return [...rows.values()].sort((a, b) => place(a) - place(b));
}

const colourOf = (part) => (["attn", "mixer", "cross"].includes(part) ? "attn" : part === "mlp" ? "mlp" : "rest");

function shareCell(row, field, total, most) {
  const bars = made("div", { className: "bars" }, ...row.parts.map((part) => {
    const bar = made("i", { className: colourOf(part.part), title: `${part.part}: ${(100 * part[field] / total).toFixed(1)} %` });
    bar.style.width = `${most > 0 ? 100 * part[field] / Math.max(most, row[field]) : 0}%`;
    return bar;
  }));
  return made("td", {}, made("div", { className: "share" }, bars, made("b", { textContent: total > 0 ? `${(100 * row[field] / total).toFixed(1)} %` : "–" })));
}

function drawLayers() {
  const kind = at("layers-kind").value;
  const list = watch.recent[kind] || [];
  if (!watch.last) { at("layers-sum").textContent = "Nothing is known yet."; at("layers-rows").replaceChildren(); return; }
  if (!watch.last.every) { at("layers-sum").textContent = "The server was told to watch no steps."; return; }
  if (!list.length) { at("layers-sum").textContent = "No such step was watched yet; ask something."; at("layers-rows").replaceChildren(); return; }
  const sum = summed(list);
  const rows = rowsOf(sum);
  const bytes = rows.reduce((all, row) => all + row.bytes, 0);
  const seconds = rows.reduce((all, row) => all + row.seconds, 0);
  at("layers-sum").textContent = `${(1000 * sum.seconds / sum.steps).toFixed(2)} ms and ${bytesText(bytes / sum.steps)} a step, ${bytesText(bytes / sum.seconds)}/s; the last ${sum.steps} of the steps watched, one in ${watch.last.every}`;
  // Bars are to the scale of the layers; a head that takes more than any of them fills its row.
  const most = (field) => Math.max(...rows.filter((row) => row.visit !== null).map((row) => row[field]));
  at("layers-rows").replaceChildren(...rows.map((row) => {
    const head = made("th", { scope: "row", textContent: row.name, title: row.visit === null ? "" : `visit ${row.visit} of layer ${row.layer}` });
    return made("tr", {}, head, shareCell(row, "seconds", seconds, most("seconds")), shareCell(row, "bytes", bytes, most("bytes")));
  }));
  const names = [...new Set(sum.parts.map((part) => part.part))];
  at("layers-legend").replaceChildren(...names.map((name) => made("span", {}, made("i", { className: colourOf(name) }), name)));
}

async function lookAtLayers() {
  try {
    const models = (await (await ask("v1/layers")).json()).data;
    const chosen = at("layers-model");
    if (chosen.options.length !== models.length) {
      chosen.replaceChildren(...models.map((one) => made("option", { value: one.model, textContent: one.model })));
      if (models.some((one) => one.model === at("model").value)) chosen.value = at("model").value;
    }
    const now = models.find((one) => one.model === chosen.value);
    const before = watch.last && watch.last.model === now.model ? watch.last : null;
    if (!before) watch.recent = {};
    for (const kind of ["reading", "writing"]) {
      const grown = growth(now, before, kind);
      if (grown) watch.recent[kind] = [...(watch.recent[kind] || []), grown].slice(-WINDOW);
    }
    watch.last = now;
    drawLayers();
  } catch (error) { at("layers-sum").textContent = error.message; }
}

function openLayers(open) {
  at("layers").hidden = !open;
  at("look").setAttribute("aria-expanded", open);
  clearInterval(watch.timer);
  if (!open) return;
  watch.timer = setInterval(() => { if (!document.hidden) lookAtLayers(); }, LOOK_MS);
  lookAtLayers();
}
