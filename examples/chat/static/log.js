// The list of messages. Whatever a person wrote is shown through textContent and never parsed.

const GROUPING = 5 * 60; // seconds within which one person's messages stand together
const KEPT = 500; // messages and events kept in the page

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

function hue(name) {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) % 9973;
  return (hash * 137.508) % 360; // the golden angle keeps neighbours apart
}

/** A person's initial on a person's colour; names are read elsewhere, so not here again. */
export function avatar(name, made = element("span", "avatar")) {
  made.textContent = [...name][0] ?? "?";
  made.style.setProperty("--hue", hue(name));
  made.setAttribute("aria-hidden", "true");
  return made;
}

const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function dayOf(date) {
  const daysAgo = (days) => new Date(Date.now() - days * 86_400_000).toDateString();
  if (date.toDateString() === daysAgo(0)) return "Today";
  if (date.toDateString() === daysAgo(1)) return "Yesterday";
  return date.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}

export class Log {
  #list;
  #shown = new Map(); // id -> its element: what must not be shown twice
  #last = null; // the newest entry, to which the next may belong: { user, time } or { line, names }
  #day = "";

  constructor(list) {
    this.#list = list;
    list.replaceChildren();
  }

  /** Nothing happens if it is there already. `mine` puts it on the writer's own side, `fresh` lets it arrive visibly. */
  add(message, { mine, fresh }) {
    if (this.has(message)) return;
    const date = new Date(message.timestamp * 1000);
    if (this.#day !== dayOf(date)) {
      this.#day = dayOf(date);
      this.#last = null;
      this.#list.append(element("li", "day", this.#day));
    }
    const item = message.type === "message" ? this.#say(message, date, mine, fresh) : this.#tell(message);
    this.#shown.set(message.id, item);
    if (this.#shown.size > KEPT) this.#dropOldest();
  }

  has(message) {
    return this.#shown.has(message.id);
  }

  /** A line for what the page itself has to say. */
  mark(text) {
    this.#last = null;
    this.#list.append(element("li", "mark", text));
  }

  #say({ user_id, username, content, timestamp }, date, mine, fresh) {
    const first = this.#last?.user !== user_id || timestamp - this.#last.time > GROUPING;
    this.#last = { user: user_id, time: timestamp };
    const item = element("li", "message");
    for (const [name, on] of Object.entries({ first, mine, fresh })) item.classList.toggle(name, on);
    item.style.setProperty("--hue", hue(username));
    const time = element("time", "", clock(date));
    time.dateTime = date.toISOString();
    const meta = element("div", "meta"); // there for screen readers even where it is not visible
    meta.append(element("span", "author", username), time);
    const bubble = element("p", "bubble", content);
    bubble.title = clock(date);
    item.append(avatar(username), meta, bubble);
    this.#list.append(item);
    return item;
  }

  // Comings and goings that follow each other share a line; the newest word about a person counts.
  #tell({ username, action }) {
    if (!this.#last?.names) {
      this.#last = { line: element("li", "event"), names: new Map() };
      this.#list.append(this.#last.line);
    }
    const { line, names } = this.#last;
    names.delete(username);
    names.set(username, action === "join" ? "joined" : "left");
    line.textContent = [...names].map(([name, did]) => `${name} ${did}`).join(" · ");
    return line;
  }

  #dropOldest() {
    const [id, item] = this.#shown.entries().next().value;
    this.#shown.delete(id);
    while (this.#list.firstChild && this.#list.firstChild !== item) this.#list.firstChild.remove();
    if (![...this.#shown.values()].includes(item)) item.remove();
  }
}
