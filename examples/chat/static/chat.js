// The page around the room: names and rooms, the live list of rooms, writing, and what the page says about itself.

import { Link } from "./link.js";
import { avatar, element } from "./log.js";
import { Room } from "./room.js";

const $ = (id) => document.getElementById(id);
const ROOM = /^[a-z0-9-]{1,32}$/;

let room = null; // the open Room; null while nobody has a name
let rooms = []; // the newest list from the lobby

// ---- Names and rooms: the room is the address's #hash, the name is remembered ----

const currentRoom = () => (ROOM.test(location.hash.slice(1)) ? location.hash.slice(1) : "general");
const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 32).replace(/^-+|-+$/g, "");

function enter() {
  const id = currentRoom();
  const username = localStorage.getItem("chat.username");
  room?.close();
  room = null;
  unread = 0;
  forgetTyping();
  showPanel("");
  warn("");
  showTitle();
  showRooms();
  $("room-name").textContent = id;
  $("input-label").textContent = $("input").placeholder = `Message #${id}`;
  $("my-name").textContent = username ?? "";
  avatar(username ?? "?", $("my-avatar"));
  if (!username) return askName();
  room = new Room(id, username, { onState: showState, onWarning: warn, onEntry: showEntry });
}

function askName(problem = "") {
  $("name-error").textContent = problem;
  $("name-input").value = localStorage.getItem("chat.username") ?? "";
  if (!$("name-dialog").open) $("name-dialog").showModal();
  $("name-input").select();
}

function showRooms() {
  const current = currentRoom();
  const known = rooms.some(({ room_id }) => room_id === current);
  const items = (known ? rooms : [...rooms, { room_id: current, users: 0 }]).map(({ room_id, users }) => {
    const link = element("a");
    link.href = `#${room_id}`;
    if (room_id === current) link.setAttribute("aria-current", "page");
    link.append(element("span", "room", room_id));
    if (users) {
      link.append(element("span", "count", users), element("span", "hidden", users === 1 ? "person" : "people"));
    }
    const item = element("li");
    item.append(link);
    return item;
  });
  $("rooms").replaceChildren(...items);
}

// ---- What the page says about itself ----

const STATES = { open: "Connected", connecting: "Connecting…", waiting: "Reconnecting…", refused: "Not connected" };
let countdown = 0;
let unread = 0; // messages that came while the tab was in the background

function showState(state, detail) {
  clearInterval(countdown);
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
  showComposer();
  if (state === "open") warn("");
  if (state === "refused") askName(detail);
  if (state !== "waiting") return;
  warn("Connection lost. Trying again…", true);
  const due = Date.now() + detail;
  const tick = () => ($("notice-wait").textContent = `${Math.max(1, Math.ceil((due - Date.now()) / 1000))} s`);
  tick(); // not part of what a screen reader says
  countdown = setInterval(tick, 1000);
}

function warn(text, canRetry = false) {
  $("notice").hidden = !text;
  $("retry").hidden = !canRetry;
  $("notice-text").textContent = text;
  $("notice-wait").textContent = "";
}

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ""}#${currentRoom()} · Trio Chat`;
}

let atEnd = true; // whether the newest message is in sight

function scrollToEnd() {
  atEnd = true;
  $("scroller").scrollTop = $("scroller").scrollHeight;
  $("jump").hidden = true;
}

function scrolled() {
  const { scrollHeight, scrollTop, clientHeight } = $("scroller");
  atEnd = scrollHeight - scrollTop - clientHeight < 80;
  if (atEnd) $("jump").hidden = true;
}

// Follow the conversation for whoever reads its end; leave alone whoever reads further up.
function showEntry({ follow, said = false }) {
  if (follow || atEnd) scrollToEnd();
  else if (said) $("jump").hidden = false;
  if (said && document.hidden) unread += 1;
  showTitle();
}

function showPanel(name) {
  document.body.dataset.panel = name;
  for (const panel of ["rooms", "people"]) $(`show-${panel}`).setAttribute("aria-expanded", String(panel === name));
}

// ---- Writing ----

const TYPING_EVERY = 2000; // milliseconds between two words that we are still typing
let typingSaid = 0; // when the room last heard that we type; 0 if it thinks that we do not
let typingIdle = 0;

function sayTyping(typing) {
  clearTimeout(typingIdle);
  if (typing) typingIdle = setTimeout(() => sayTyping(false), 2 * TYPING_EVERY);
  if (typing ? Date.now() - typingSaid < TYPING_EVERY : !typingSaid) return;
  typingSaid = typing ? Date.now() : 0;
  room?.link.send({ type: "typing", is_typing: typing });
}

function forgetTyping() {
  clearTimeout(typingIdle);
  typingSaid = 0;
}

function showComposer() {
  const text = $("input").value;
  const left = $("input").maxLength - text.length;
  $("send").disabled = !text.trim() || $("state").dataset.state !== "open";
  $("left").textContent = left <= 100 ? left : "";
}

function sendMessage() {
  const content = $("input").value.trim();
  if ($("send").disabled || !room.say(content)) return;
  forgetTyping(); // the message itself says that we stopped
  $("input").value = "";
  warn("");
  showComposer();
}

// ---- Wiring ----

const on = (target, type, listener) => target.addEventListener(type, listener);
const retry = () => [room?.link, lobby].forEach((link) => link?.retry());

on($("composer"), "submit", (event) => {
  event.preventDefault();
  sendMessage();
});
on($("input"), "keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendMessage();
});
on($("input"), "input", () => {
  showComposer();
  sayTyping($("input").value.trim() !== "");
});
on($("name-form"), "submit", (event) => {
  const username = $("name-input").value.trim();
  if (!username) return event.preventDefault();
  localStorage.setItem("chat.username", username);
  enter();
});
on($("name-dialog"), "cancel", (event) => {
  if (!room) event.preventDefault(); // nothing works without a name
});
on($("name-dialog"), "close", () => $("input").focus());
on($("room-form"), "submit", (event) => {
  event.preventDefault();
  const id = slug($("room-input").value);
  if (id) location.hash = id;
  $("room-input").value = "";
});
on($("rename"), "click", () => askName());
on($("retry"), "click", retry);
on($("jump"), "click", scrollToEnd);
on($("scroller"), "scroll", scrolled);
new ResizeObserver(() => atEnd && scrollToEnd()).observe($("scroller"));
on($("skip"), "click", (event) => {
  event.preventDefault();
  $("input").focus();
});
on($("show-rooms"), "click", () => showPanel("rooms"));
on($("show-people"), "click", () => showPanel("people"));
on($("backdrop"), "click", () => showPanel(""));
on($("rooms"), "click", (event) => event.target.closest("a") && showPanel(""));
on(document, "keydown", (event) => event.key === "Escape" && showPanel(""));
on(window, "hashchange", enter);
on(window, "online", retry);
on(document, "visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
  retry();
});

const lobby = new Link(() => "/ws/lobby", {
  onState() {},
  onMessage(message) {
    rooms = message.rooms;
    showRooms();
  },
});
enter();
