'use strict';

const fs = require('node:fs');
const net = require('node:net');

/** The ports that the kernel gives to nobody who does not ask for them by number: no connection that goes out can be on one of them. */
function unclaimed() {
  const [first, last] = fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
  return Array.from({ length: 65_536 }, (_, port) => port).filter((port) => port >= 10_000 && (port < first || port > last));
}

/** A server that has taken an address, or null where somebody else has. */
function take(host, port) {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', (error) => (error.code === 'EADDRINUSE' ? resolve(null) : reject(error)));
    server.listen({ host, port }, () => resolve(server.unref()));
  });
}

/** A port of 127.0.0.1 that nothing listens on, and that no other test is given while this process lives, who holds the same port of 127.0.0.2. */
async function freePort() {
  const ports = unclaimed();
  for (let next = Math.floor(Math.random() * ports.length); ; next = (next + 1) % ports.length) {
    const reserved = await take('127.0.0.2', ports[next]);
    const free = reserved && (await take('127.0.0.1', ports[next]));
    if (free) return new Promise((resolve) => { free.close(() => resolve(ports[next])); });
    reserved?.close();
  }
}

module.exports = { freePort };
