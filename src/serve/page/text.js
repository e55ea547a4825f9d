// Answers as elements: paragraphs, blocks of code with a button to copy them, `code` and **bold** within lines. Nothing
// that a model writes becomes markup.
const made = (name, fields = {}, ...inside) => {
  const element = Object.assign(document.createElement(name), fields);
  element.append(...inside);
  return element;
};

function inline(text) {
  const pieces = [];
  let rest = text;
  for (let found; (found = /`([^`\n]+)`|\*\*([^*\n]+)\*\*/.exec(rest));) {
    pieces.push(rest.slice(0, found.index), found[1] !== undefined ? made("code", {}, found[1]) : made("strong", {}, found[2]));
    rest = rest.slice(found.index + found[0].length);
  }
  return [...pieces, rest];
}

function codeBlock(text) {
  const button = made("button", { type: "button", textContent: "Copy" });
  button.onclick = () => copy(text, button);
  return made("div", { className: "block" }, made("pre", { tabIndex: 0 }, made("code", {}, text)), button);
}

function elementsOf(text) {
  const elements = [];
  text.split(/^[ \t]*```/m).forEach((piece, index) => {
    if (index % 2 === 1) {
      const end = piece.indexOf("\n");
      elements.push(codeBlock(end < 0 ? "" : piece.slice(end + 1).replace(/\n$/, "")));
      return;
    }
    for (const paragraph of piece.split(/\n{2,}/)) {
      const shown = paragraph.replace(/^\n+|\s+$/g, "");
      if (shown) elements.push(made("p", {}, ...inline(shown)));
    }
  });
  return elements;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure origin there is no clipboard to write to; the older way works everywhere.
    const area = made("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  if (!button) { say("copied"); return; }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}
