// A WebSocket that comes back by itself.

const REFUSED = 4400; // close code: the server will not have this name or room, so do not come back with it

export class Link {
  #socket = null;
  #timer = 0;
  #failures = 0;

  /** `path` returns where to connect, each time. `onState` hears "connecting", "waiting" (with the milliseconds until the next try) or "refused" (with the reason). */
  constructor(path, { onMessage, onState }) {
    this.path = path;
    this.onMessage = onMessage;
    this.onState = onState;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const socket = (this.#socket = new WebSocket(new URL(this.path(), location.href.replace(/^http/, "ws"))));
    this.onState("connecting");
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#failures = 0; // only a server that talks is back; one that accepts and dies is not
      this.onMessage(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.#socket) return; // closed by us
      this.#socket = null;
      if (code === REFUSED) return this.onState("refused", reason);
      const delay = this.#backoff();
      this.#timer = setTimeout(() => this.#connect(), delay);
      this.onState("waiting", delay);
    };
  }

  // Half of it is jitter: a thousand pages must not come back in the same instant.
  #backoff() {
    const ceiling = Math.min(15_000, 500 * 2 ** Math.min(this.#failures++, 10));
    return ceiling / 2 + Math.random() * (ceiling / 2);
  }

  /** Try now instead of when the timer says. */
  retry() {
    if (this.#timer) this.#connect();
  }

  /** False if there is no open connection; the message is then not sent. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#timer = 0;
    this.#socket = null;
    socket?.close(1000);
  }
}
