// A new element of a class and a text; text from data enters by textContent alone, so it stays text.
export function element(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}
