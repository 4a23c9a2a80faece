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

// Not crypto.randomUUID, which a page from another machine has over https alone.
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// Who this tab is, also after a reload: nobody sees it leave and come. Others are shown an id that is made of it.
const tab = sessionStorage.getItem("chat.tab") ?? newId();
sessionStorage.setItem("chat.tab", tab);

export class Room {
  #log = new Log($("log"));
  #people = new Map(); // user_id -> username, as the server tells who is present; of a crowd only the first ones
  #users = 0;
  #typists = new Map(); // user_id -> { username, timer }
  #early = []; // what arrived before the welcome, with its position; null once it came
  #position = ""; // of the newest message that is shown: what comes after it is asked for after a reconnect
  #unheard = new Map(); // id -> content of what we have said, and not heard back from the room yet
  #myId = null;
  #view;

  /** `view` is what the page offers: onState, onWarning, onEntry. */
  constructor(id, username, view) {
    this.#view = view;
    this.#showPeople();
    this.#showTypists();
    const path = `/ws/chat/${id}?tab=${tab}&username=${encodeURIComponent(username)}&since=`;
    this.link = new Link(() => path + encodeURIComponent(this.#position), {
      onMessage: (message) => this.#receive(message),
      onState: (state, detail) => this.#disconnected(state, detail),
    });
  }

  close() {
    this.link.close();
    this.#forgetTypists();
  }

  /** False if there is no open connection. What is said is said again after a reconnect, and comes to the room once. */
  say(content) {
    const id = newId();
    const sent = this.link.send({ type: "message", content, id });
    if (sent) this.#unheard.set(id, content);
    return sent;
  }

  #disconnected(state, detail) {
    this.#early = [];
    this.#forgetTypists();
    this.#view.onState(state, detail);
  }

  #receive({ data, position }) {
    if (data.type === "welcome") this.#welcome(data);
    else if (this.#early) this.#early.push([data, position]);
    else this.#show(data, position, true);
  }

  // Who is here and what was said before, in one piece. After a reconnect, what was missed came early; if that is not
  // all of it, there is a history once more, most of which is known. The log shows every id once.
  #welcome({ user_id, users, people, history, resumed }) {
    const early = this.#early;
    const again = this.#myId !== null;
    this.#early = null;
    this.#myId = user_id;
    remember(user_id);
    this.#users = users;
    this.#people = new Map(people.map((user) => [user.user_id, user.username]));
    $("log").setAttribute("aria-busy", "true");
    if (again && !resumed) this.#log.mark("Connected again; messages may be missing here");
    for (const message of history) this.#add(message, false);
    $("log").setAttribute("aria-busy", "false");
    for (const [message, position] of early) this.#show(message, position, false);
    for (const [id, content] of this.#unheard) this.link.send({ type: "message", content, id });
    this.#showPeople();
    this.#view.onState("open");
    this.#view.onEntry({ follow: true });
  }

  #show(message, position, fresh) {
    if (position) this.#position = position;
    this.#unheard.delete(message.id);
    if (message.type === "error") return this.#view.onWarning(message.message);
    if (message.type === "typing") return this.#type(message);
    if (message.type === "people") return this.#meet(message);
    this.#type({ user_id: message.user_id, is_typing: false });
    this.#add(message, fresh);
    this.#view.onEntry({ follow: message.user_id === this.#myId, said: message.type === "message" });
  }

  #meet({ change, users, person }) {
    if (change === "left") this.#people.delete(person.user_id);
    else this.#people.set(person.user_id, person.username);
    this.#users = users;
    this.#showPeople();
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
