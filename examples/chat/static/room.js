// One room: its connection, who is in it, who is typing, what is said.

import { Link } from "./link.js";
import { Log, avatar, element } from "./log.js";

const $ = (id) => document.getElementById(id);
const FORGET_TYPING = 6000; // milliseconds, in case the word that somebody stopped never comes
const SHOWN_PEOPLE = 200;

// The ids this tab had in earlier connections, so that after a reload its own messages are still its own.
const myIds = new Set(JSON.parse(sessionStorage.getItem("chat.ids") ?? "[]"));

function remember(id) {
  myIds.add(id);
  sessionStorage.setItem("chat.ids", JSON.stringify([...myIds].slice(-50)));
}

export class Room {
  #log = new Log($("log"));
  #people = new Map(); // user_id -> username; of a crowd only the first ones
  #users = 0;
  #typists = new Map(); // user_id -> { username, timer }
  #early = []; // what arrived before the welcome; null once it came
  #myId = null;
  #view;

  /** `view` is what the page offers: onState, onWarning, onEntry. */
  constructor(id, username, view) {
    this.#view = view;
    this.#showPeople();
    this.#showTypists();
    this.link = new Link(`/ws/chat/${id}?username=${encodeURIComponent(username)}`, {
      onMessage: (message) => this.#receive(message),
      onState: (state, detail) => this.#disconnected(state, detail),
    });
  }

  close() {
    this.link.close();
    this.#forgetTypists();
  }

  #disconnected(state, detail) {
    this.#early = [];
    this.#forgetTypists();
    this.#view.onState(state, detail);
  }

  #receive(message) {
    if (message.type === "welcome") this.#welcome(message);
    else if (this.#early) this.#early.push(message);
    else this.#show(message, true);
  }

  // Who is here and what was said before, in one piece. On a second welcome, after a reconnect, most of it is known;
  // what came early may be in it as well. The log shows every id once.
  #welcome({ user_id, users, people, history }) {
    const early = this.#early;
    const again = this.#myId !== null;
    this.#early = null;
    this.#myId = user_id;
    remember(user_id);
    this.#users = users;
    this.#people = new Map(people.map((user) => [user.user_id, user.username]));
    $("log").setAttribute("aria-busy", "true");
    const gap = again && history.length && !history.some((message) => this.#log.has(message));
    if (gap) this.#log.mark("Connected again; messages may be missing here");
    for (const message of history) this.#add(message, false);
    $("log").setAttribute("aria-busy", "false");
    for (const message of early) this.#show(message, false);
    this.#showPeople();
    this.#view.onState("open");
    this.#view.onEntry({ follow: true });
  }

  #show(message, fresh) {
    if (message.type === "error") return this.#view.onWarning(message.message);
    if (message.type === "typing") return this.#type(message);
    if (message.action === "join") this.#people.set(message.user_id, message.username);
    if (message.action === "leave") this.#people.delete(message.user_id);
    if (message.action) this.#users = message.users;
    if (message.action) this.#showPeople();
    this.#type({ user_id: message.user_id, is_typing: false });
    this.#add(message, fresh);
    this.#view.onEntry({ follow: message.user_id === this.#myId, said: message.type === "message" });
  }

  #add(message, fresh) {
    this.#log.add(message, { fresh, mine: myIds.has(message.user_id) });
  }

  #type({ user_id, username, is_typing }) {
    clearTimeout(this.#typists.get(user_id)?.timer);
    this.#typists.delete(user_id);
    if (is_typing && user_id !== this.#myId) {
      const timer = setTimeout(() => this.#type({ user_id, is_typing: false }), FORGET_TYPING);
      this.#typists.set(user_id, { username, timer });
    }
    this.#showTypists();
  }

  #forgetTypists() {
    for (const { timer } of this.#typists.values()) clearTimeout(timer);
    this.#typists.clear();
    this.#showTypists();
  }

  #showTypists() {
    const names = [...this.#typists.values()].map(({ username }) => username);
    const texts = ["", `${names[0]} is typing…`, `${names.join(" and ")} are typing…`];
    $("typing").textContent = texts[names.length] ?? "Several people are typing…";
  }

  #showPeople() {
    const people = [...this.#people].sort(([, a], [, b]) => a.localeCompare(b));
    const items = people.slice(0, SHOWN_PEOPLE).map(([id, name]) => {
      const item = element("li");
      item.append(avatar(name), element("span", "who", name));
      if (id === this.#myId) item.append(element("span", "you", "you"));
      return item;
    });
    $("user-count").textContent = this.#users;
    $("people").replaceChildren(...items);
  }
}
