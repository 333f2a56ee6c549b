// HTTP/1.1 on plain sockets, as much of it as these clients and this homeserver need: Node's own takes several times the CPU time.
'use strict';

const net = require('node:net');

/** Cuts a stream of bytes into messages: calls onMessage(head, body) for each. */
class Messages {
  constructor(onMessage) {
    this.onMessage = onMessage;
    this.rest = Buffer.alloc(0);
  }

  feed(bytes) {
    this.rest = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes;
    for (let at; (at = this.rest.indexOf('\r\n\r\n')) >= 0;) {
      const head = this.rest.latin1Slice(0, at);
      const end = at + 4 + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
      if (this.rest.length < end) return;
      const body = this.rest.subarray(at + 4, end);
      this.rest = this.rest.subarray(end);
      this.onMessage(head, body);
    }
  }
}

/** A connection that is kept alive, with one request at a time. */
class Connection {
  constructor(port, token) { Object.assign(this, { port, token }); }

  /** Gives {status, body}; without a body it is a GET. */
  ask(target, body) {
    const more = body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
    const text = `${body === undefined ? 'GET' : 'POST'} ${target} HTTP/1.1\r\nHost: hs.test\r\nAuthorization: Bearer ${this.token}\r\n${more}\r\n${body ?? ''}`;
    return new Promise((resolve, reject) => {
      this.asked = { text, resolve, reject };
      if (!this.socket?.writable) this.open();
      this.socket.write(text);
    });
  }

  open() {
    const socket = net.connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    const messages = new Messages((head, body) => this.answered(head, body));
    Object.assign(this, { socket, used: false });
    socket.on('data', (bytes) => messages.feed(bytes));
    socket.on('error', () => {});
    socket.on('close', () => { if (socket === this.socket) this.lost(); });
  }

  answered(head, body) {
    const { resolve } = this.asked;
    this.asked = null;
    this.used = true;
    if (/^connection: *close/im.test(head)) this.socket.end();
    resolve({ status: Number(head.slice(9, 12)), body });
  }

  /** A connection that was kept alive may end just when it is used again. */
  lost() {
    if (!this.asked) return;
    if (!this.used) { this.asked.reject(new Error(`port ${this.port} closed a new connection`)); return; }
    this.open();
    this.socket.write(this.asked.text);
  }
}

module.exports = { Messages, Connection };
