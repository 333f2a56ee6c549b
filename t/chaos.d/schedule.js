// What happens when: made of the seed alone, before anything happens.
'use strict';

const { Random } = require('../walk.d/random');

// How often each kind comes in a round. Every round has all of them, in another order.
const round = {
  kill_worker: 3, kill_master: 1, reload: 2, freeze: 3, cut_clients: 2,
  restart_postgres: 1, crash_postgres: 1, switch_over: 1, fail_over: 1, cut_postgres: 1,
  faulty_homeserver: 3, refusing_homeserver: 1,
};
const least_pause = 300, most_pause = 2500;
const faults = ['cut', 'reset', 'busy', 'error', 'bad_gateway', 'truncated'];

/** Steps {at, kind, …}, `at` in milliseconds from the beginning; a step whose target is still busy with another waits for it,
 * and is left out when the time is over. */
function schedule(seed, seconds, hosts, workers) {
  const random = new Random(`chaos ${seed}`);
  const steps = [];
  let deck = [];
  for (let at = least_pause; at < seconds * 1000; at += random.between(least_pause, most_pause)) {
    if (deck.length === 0) deck = random.shuffle(Object.entries(round).flatMap(([kind, times]) => Array(times).fill(kind)));
    steps.push({ at, kind: deck.pop(), ...details(random, hosts, workers) });
  }
  return steps;
}

/** The same draws for every kind: a kind that is taken out of a round changes nothing else. */
function details(random, hosts, workers) {
  return {
    host: random.below(hosts),
    worker: random.below(workers),
    long: random.chance(0.6),         // longer than a worker's lease
    gently: random.chance(0.5),       // what a master leaves behind is asked to quit
    fraction: random.between(1, 9) / 10,
    duration: random.between(300, 3000),
    fault: random.pick(faults),
    calm: random.chance(0.6),         // begins when most devices are polled again
  };
}

module.exports = { schedule };
