// Objects in processes of their own: offer() in the child, Remote in the parent.
'use strict';

const { fork } = require('node:child_process');

/** The parent may call the object's methods. */
function offer(object) {
  process.on('message', async ({ id, method, args }) => {
    try {
      process.send({ id, value: await object[method](...args) });
    } catch (error) {
      process.send({ id, error: error.stack });
    }
  });
  process.on('disconnect', () => process.exit());
}

class Remote {
  constructor(file) {
    this.asked = new Map();
    this.count = 0;
    this.child = fork(file, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.pid = this.child.pid;
    this.child.on('message', ({ id, value, error }) => {
      const { resolve, reject } = this.asked.get(id);
      this.asked.delete(id);
      if (error) reject(new Error(error));
      else resolve(value);
    });
    this.over = new Promise((ended) => this.child.once('exit', () => {
      if (!this.ending) throw new Error(`${file} has ended`);
      ended();
    }));
  }

  call(method, ...args) {
    return new Promise((resolve, reject) => {
      this.asked.set(++this.count, { resolve, reject });
      this.child.send({ id: this.count, method, args });
    });
  }

  end() {
    this.ending = true;
    this.child.disconnect();
    return this.over;
  }
}

module.exports = { offer, Remote };
