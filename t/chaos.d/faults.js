// What the schedule's steps do to workers, masters, PostgreSQL, the homeserver and clients. Each says as an outage what may fail meanwhile;
// it is over when everything answers again, not when some time has passed.
'use strict';

const { until, assert } = require('../lib/tap');
const { kill } = require('../lib/nginx');

// A lease is 6 s, and then others need a while to take over and to write what the frozen worker must not write again.
const short_freeze = 1500, long_freeze = 11_000;

const pause = (ms) => new Promise((go) => setTimeout(go, ms));

const kinds = {
  kill_worker: (chaos, step) => onHost(chaos, step, 'host', ({ nginx }, pid) => nginx.killWorker(pid)),

  kill_master: (chaos, step) => onHost(chaos, step, 'host', async ({ nginx }) => {
    const orphans = await nginx.killMaster();
    if (step.gently) await pause(step.duration);
    for (const pid of orphans) kill(pid, step.gently ? 'SIGQUIT' : 'SIGKILL');
    await until(() => orphans.every((pid) => !alive(pid)), 'what the master left behind has ended', 30_000);
    await nginx.start();
  }),

  reload: (chaos, step) => onHost(chaos, step, null, ({ nginx }) => nginx.replaceWorkers(40_000)),

  freeze: (chaos, step) => onHost(chaos, step, 'locks', async (host, pid) => {
    chaos.frozen.add(pid);
    kill(pid, 'SIGSTOP');
    await pause(step.long ? long_freeze : short_freeze);
    kill(pid, 'SIGCONT');
    chaos.frozen.delete(pid);
    await chaos.answers();
  }),

  cut_clients: (chaos, step) => chaos.queued(step, step, () => {
    for (const client of chaos.clients) if (chaos.random.chance(step.fraction)) client.cut();
  }),

  restart_postgres: (chaos, step) => onPostgres(chaos, step, (cluster) => cluster.restart('SIGINT')),
  crash_postgres: (chaos, step) => onPostgres(chaos, step, (cluster) => cluster.restart('SIGQUIT'), true),
  switch_over: (chaos, step) => onPostgres(chaos, step, (cluster) => cluster.failOver('SIGINT')),
  fail_over: (chaos, step) => onPostgres(chaos, step, (cluster) => cluster.failOver('SIGQUIT'), true),
  cut_postgres: (chaos, step) => onPostgres(chaos, step, (cluster) => cluster.killConnections()),

  faulty_homeserver: (chaos, step) => chaos.queued(step, step, async () => {
    const fault = { matches: (seen) => seen.route === 'sync' && chaos.random.chance(step.fraction), fault: faultOf(step), times: Infinity };
    chaos.homeserver.faults.push(fault);
    await pause(step.duration);
    chaos.homeserver.faults.splice(chaos.homeserver.faults.indexOf(fault), 1);
  }),

  refusing_homeserver: (chaos, step) => chaos.queued(step, 'homeserver', async () => {
    await chaos.homeserver.refuse();
    await pause(step.duration);
    await chaos.homeserver.open();
  }),
};

function faultOf({ fault, fraction }) {
  return {
    cut: { cut: Math.floor(fraction * 400) },
    reset: { reset: true },
    busy: { status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', error: 'Too many requests', retry_after_ms: 500 } },
    error: { status: 500, body: { errcode: 'M_UNKNOWN', error: 'Internal server error' } },
    bad_gateway: { status: 502, body: '<html>502</html>', headers: { 'content-type': 'text/html' } },
    truncated: { raw: '{"next_batch":"s1_1","to_device":{"events":[{"type":"m.te' },
  }[fault];
}

/** One thing at a time on a host. `outage`: what may fail meanwhile; 'host' is this one. */
function onHost(chaos, step, outage, run) {
  const host = chaos.hosts[step.host];
  return chaos.queued(step, host, async () => {
    const pids = host.nginx.workerPids();
    assert.equal(pids.length, host.nginx.workers, 'workers of the host');
    const pid = pids[step.worker];
    const over = outage ? chaos.outages.begin(outage === 'host' ? `host ${step.host}` : outage) : () => {};
    await run(host, pid);
    over();
  });
}

/** One thing at a time on PostgreSQL; over when every worker has a connection again. */
function onPostgres(chaos, step, run, unclean = false) {
  return chaos.queued(step, 'postgres', async () => {
    const ends = [chaos.outages.begin('database')];
    if (unclean) ends.push(chaos.outages.begin('lost commits'));
    const primary = chaos.cluster.primary;
    await run(chaos.cluster);
    await chaos.answers();
    for (const over of ends) over();
    if (chaos.cluster.primary !== primary) await chaos.cluster.follow();
  });
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

module.exports = { kinds };
