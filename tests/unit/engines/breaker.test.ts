/**
 * The breaker of one upstream: what opens it and what must not, that one probe at a time finds out whether it may
 * close, and that no order of events leaves it open for good.
 */
import { describe, expect, test } from 'bun:test';
import { Breaker, type Probe } from '../../../src/engines/breaker.ts';
import { forSeeds, type Random } from '../../support/random.ts';

/** No jitter: the middle of its range. */
const middle = () => 0.5;

function times(n: number, body: (i: number) => void): void {
  for (let i = 0; i < n; i++) body(i);
}

/** Returns a breaker that is open since 0 for that reason. */
function opened(reason: 'unreachable' | 'resetting' | 'failing', random = middle): Breaker {
  const breaker = new Breaker(random);
  if (reason === 'unreachable') breaker.unreachable(0);
  if (reason === 'resetting') times(5, (i) => breaker.reset(`key-${i}`, 0, true));
  if (reason === 'failing') times(5, (i) => breaker.failed5xx(`key-${i}`, 0, true));
  return breaker;
}

/** Opens a half-open state and fails it, `n` times; gives how long each backoff was. */
function backoffs(breaker: Breaker, n: number): number[] {
  return Array.from({ length: n }, () => {
    const now = breaker.retryAt;
    breaker.admitted(now);
    breaker.unreachable(now);
    return breaker.retryAt - now;
  });
}

const reasons = ['unreachable', 'resetting', 'failing'] as const;

describe('a closed breaker', () => {
  test('admits every request, and none of them is a probe', () => {
    const breaker = new Breaker(middle);
    expect(breaker.state).toBe('closed');
    expect(breaker.reason).toBeUndefined();
    for (const now of [0, 0, 5]) {
      expect(breaker.canAdmit(now)).toBe(true);
      expect(breaker.admitted(now)).toBeUndefined();
    }
  });

  test('opens at once when nobody is there', () => {
    const breaker = opened('unreachable');
    expect([breaker.state, breaker.reason]).toEqual(['open', 'unreachable']);
    expect(breaker.canAdmit(0)).toBe(false);
  });
});

test('a broken connection to the health endpoint says nothing new before its backoff has passed', () => {
  const breaker = opened('resetting');
  const before = breaker.retryAt;
  breaker.broke(before - 1, true);
  expect(breaker.retryAt).toBe(before);
  breaker.broke(before, true);
  expect(breaker.retryAt).toBeGreaterThan(before);
});

describe('connections that break before any answer', () => {
  test('open it after five in a row from two principals', () => {
    const breaker = new Breaker(middle);
    times(4, () => breaker.reset('a', 0, true));
    expect(breaker.state).toBe('closed');
    breaker.reset('b', 0, true);
    expect([breaker.state, breaker.reason]).toEqual(['open', 'resetting']);
  });

  test('never open it for one principal alone while its health endpoint answers', () => {
    const breaker = new Breaker(middle);
    times(1_000, (now) => {
      breaker.reset('a', now, true);
      if (now % 7 === 0) breaker.lives(now);
      expect(breaker.state).toBe('closed');
    });
  });

  test('open it for one principal after ten in a row when its health endpoint breaks them too', () => {
    const breaker = new Breaker(middle);
    times(9, () => breaker.reset('a', 0, true));
    breaker.broke(0, true);
    expect([breaker.state, breaker.isSuspect]).toEqual(['closed', false]);
    breaker.reset('a', 0, true);
    expect([breaker.state, breaker.isSuspect]).toEqual(['closed', true]);
    breaker.broke(0, true);
    expect([breaker.state, breaker.reason]).toEqual(['open', 'resetting']);
  });

  test('never open it while no peer can serve', () => {
    const breaker = new Breaker(middle);
    times(1_000, (i) => {
      breaker.reset(`key-${i % 3}`, 0, false);
      breaker.broke(0, false);
    });
    expect(breaker.state).toBe('closed');
  });

  test('count while no peer can serve, for the moment when one can', () => {
    const breaker = new Breaker(middle);
    times(5, (i) => breaker.reset(`key-${i}`, 0, false));
    breaker.reset('a', 0, true);
    expect(breaker.state).toBe('open');
  });

  test('do not open it when four have come from two principals', () => {
    const breaker = new Breaker(middle);
    for (const principal of ['a', 'b', 'a', 'b']) breaker.reset(principal, 0, true);
    expect(breaker.state).toBe('closed');
  });

  test.each([
    ['an answer', (breaker: Breaker) => breaker.answered(0)],
    ['a success', (breaker: Breaker) => breaker.succeeded(0)],
    ['a 500', (breaker: Breaker) => breaker.failed5xx('a', 0, true)],
  ])('are counted anew after %s', (_, answer) => {
    const breaker = new Breaker(middle);
    times(4, (i) => breaker.reset(`key-${i}`, 0, true));
    answer(breaker);
    times(4, (i) => breaker.reset(`key-${i}`, 0, true));
    expect(breaker.state).toBe('closed');
    breaker.reset('b', 0, true);
    expect(breaker.state).toBe('open');
  });

  test.each(['reached', 'lives'] as const)('of several are not excused by %s', (look) => {
    const breaker = new Breaker(middle);
    times(4, (i) => breaker.reset(`key-${i}`, 0, true));
    breaker[look](0);
    breaker.reset('b', 0, true);
    breaker[look](0);
    expect(breaker.state).toBe('open');
  });

  test('say nothing by the health endpoint alone', () => {
    const breaker = new Breaker(middle);
    times(1_000, () => breaker.broke(0, true));
    expect(breaker.state).toBe('closed');
  });
});

describe('answers with 5xx', () => {
  test('set it aside after five in a row to two principals when a peer can serve', () => {
    const breaker = new Breaker(middle);
    times(4, () => breaker.failed5xx('a', 0, true));
    expect(breaker.state).toBe('closed');
    breaker.failed5xx('b', 0, true);
    expect([breaker.state, breaker.reason]).toEqual(['open', 'failing']);
  });

  test('never open it for one principal alone', () => {
    const breaker = new Breaker(middle);
    times(1_000, () => breaker.failed5xx('a', 0, true));
    expect(breaker.state).toBe('closed');
  });

  test('never set aside the last one that can serve', () => {
    const breaker = new Breaker(middle);
    times(1_000, (i) => breaker.failed5xx(`key-${i % 3}`, 0, false));
    expect(breaker.state).toBe('closed');
  });

  test('count while no peer can serve, for the moment when one can', () => {
    const breaker = new Breaker(middle);
    times(5, (i) => breaker.failed5xx(`key-${i}`, 0, false));
    breaker.failed5xx('a', 0, true);
    expect(breaker.state).toBe('open');
  });

  test('are counted anew after any other answer to a client', () => {
    const breaker = new Breaker(middle);
    times(4, (i) => breaker.failed5xx(`key-${i}`, 0, true));
    breaker.succeeded(0);
    times(4, (i) => breaker.failed5xx(`key-${i}`, 0, true));
    expect(breaker.state).toBe('closed');
  });

  test('are not excused by a health endpoint that answers', () => {
    const breaker = new Breaker(middle);
    times(4, (i) => breaker.failed5xx(`key-${i}`, 0, true));
    breaker.answered(0);
    breaker.failed5xx('b', 0, true);
    expect(breaker.state).toBe('open');
  });
});

describe('the backoff', () => {
  test('begins with 500 ms and doubles up to 30 s', () => {
    const breaker = opened('unreachable');
    expect(breaker.retryAt).toBe(500);
    expect(backoffs(breaker, 8)).toEqual([1e3, 2e3, 4e3, 8e3, 16e3, 30e3, 30e3, 30e3]);
  });

  test('is jittered by a quarter either way', () => {
    expect(opened('unreachable', () => 0).retryAt).toBe(375);
    expect(opened('unreachable', () => 1).retryAt).toBe(625);
  });

  test('begins anew after it was closed', () => {
    const breaker = opened('unreachable');
    backoffs(breaker, 5);
    breaker.answered(1e6);
    breaker.unreachable(1e6);
    expect(breaker.retryAt).toBe(1e6 + 500);
  });

  test('is not made longer by those that failed at the same time', () => {
    for (const reason of reasons) {
      const breaker = opened(reason);
      times(50, (i) => {
        breaker.unreachable(10);
        breaker.reset(`key-${i}`, 10, true);
        breaker.broke(10, true);
      });
      expect(breaker.retryAt).toBe(500);
    }
    const breaker = opened('failing');
    times(50, (i) => breaker.failed5xx(`key-${i}`, 10, true));
    expect([breaker.reason, breaker.retryAt]).toEqual(['failing', 500]);
  });

  test('is made longer by a look that finds nobody when it has passed, which spares a client the attempt', () => {
    const breaker = opened('unreachable');
    breaker.unreachable(500);
    expect([breaker.state, breaker.retryAt]).toEqual(['open', 1_500]);
  });

  test('is made longer likewise by a health endpoint that still breaks connections', () => {
    const breaker = opened('resetting');
    breaker.broke(500, true);
    expect([breaker.state, breaker.retryAt]).toEqual(['open', 1_500]);
    breaker.admitted(1_500);
    breaker.broke(1_500, true);
    expect(breaker.state).toBe('half-open');
  });

  test('is over for no request that was sent before it opened', () => {
    const breaker = opened('resetting');
    breaker.reset('late', 500, true);
    expect(breaker.canAdmit(500)).toBe(true);
  });
});

describe('a probe', () => {
  test.each(reasons)('goes out alone when the backoff has passed (%s)', (reason) => {
    const breaker = opened(reason);
    expect(breaker.canAdmit(499)).toBe(false);
    expect(breaker.admitted(499)).toBeUndefined();
    expect(breaker.state).toBe('open');
    expect(breaker.canAdmit(500)).toBe(true);
    expect(breaker.admitted(500)).toBeDefined();
    expect(breaker.state).toBe('half-open');
    expect(breaker.canAdmit(1e9)).toBe(false);
    expect(breaker.admitted(1e9)).toBeUndefined();
  });

  test.each(reasons)('that succeeds closes it (%s)', (reason) => {
    const breaker = opened(reason);
    breaker.admitted(500);
    breaker.succeeded(510);
    expect(breaker.state).toBe('closed');
    expect(breaker.canAdmit(510)).toBe(true);
  });

  test.each(reasons)('that reaches nobody opens it for longer (%s)', (before) => {
    const breaker = opened(before);
    breaker.admitted(500);
    breaker.unreachable(600);
    expect([breaker.state, breaker.reason]).toEqual(['open', 'unreachable']);
    expect(breaker.retryAt).toBe(1_600);
  });

  test.each(['resetting', 'failing'] as const)(
    'whose connection breaks opens it for longer while a peer can serve (%s)',
    (reason) => {
      const breaker = opened(reason);
      breaker.admitted(500);
      breaker.reset('a', 600, true);
      expect([breaker.state, breaker.reason, breaker.retryAt]).toEqual(['open', reason, 1_600]);
      breaker.admitted(1_600);
      breaker.reset('a', 1_700, false);
      expect(breaker.state).toBe('closed');
    },
  );

  test.each([true, false])(
    'whose connection breaks shows that somebody is there (peer: %p)',
    (canSpare) => {
      const breaker = opened('unreachable');
      breaker.admitted(500);
      breaker.reset('a', 600, canSpare);
      expect(breaker.state).toBe('closed');
    },
  );

  test('that is answered with 5xx opens a failing one for longer', () => {
    const breaker = opened('failing');
    breaker.admitted(500);
    breaker.failed5xx('a', 600, true);
    expect([breaker.state, breaker.reason, breaker.retryAt]).toEqual(['open', 'failing', 1_600]);
  });

  test('that is answered with 5xx closes one that was away', () => {
    for (const reason of ['unreachable', 'resetting'] as const) {
      const breaker = opened(reason);
      breaker.admitted(500);
      breaker.failed5xx('a', 600, true);
      expect(breaker.state).toBe('closed');
    }
  });

  test('is given back at once when it ends without a verdict', () => {
    const breaker = opened('unreachable');
    const probe = breaker.admitted(500);
    breaker.probeEnded(probe);
    expect(breaker.state).toBe('open');
    expect(breaker.canAdmit(501)).toBe(true);
  });

  test('of before does not give back a later one', () => {
    const breaker = opened('unreachable');
    const early = breaker.admitted(500);
    breaker.unreachable(600);
    const late = breaker.admitted(breaker.retryAt);
    breaker.probeEnded(early);
    expect(breaker.state).toBe('half-open');
    breaker.probeEnded(late);
    expect(breaker.state).toBe('open');
  });

  test('is not given back by the end of a request that was none', () => {
    const breaker = opened('unreachable');
    breaker.admitted(500);
    breaker.probeEnded(undefined);
    expect(breaker.state).toBe('half-open');
  });
});

describe('what closes it without a probe', () => {
  test('is an answer of any kind when it was away, and only a success when it was failing', () => {
    const closedBy = (event: (breaker: Breaker) => void) =>
      reasons.filter((reason) => {
        const breaker = opened(reason);
        event(breaker);
        return breaker.state === 'closed';
      });
    expect(closedBy((breaker) => breaker.reached(10))).toEqual(['unreachable']);
    expect(closedBy((breaker) => breaker.lives(10))).toEqual(['unreachable']);
    expect(closedBy((breaker) => breaker.answered(10))).toEqual(['unreachable', 'resetting']);
    expect(closedBy((breaker) => breaker.failed5xx('a', 10, true))).toEqual([
      'unreachable',
      'resetting',
    ]);
    expect(closedBy((breaker) => breaker.succeeded(10))).toEqual([...reasons]);
  });

  test('is a health endpoint that answers when only one principal has found it resetting', () => {
    for (const other of [undefined, 'b']) {
      const breaker = new Breaker(middle);
      times(10, () => breaker.reset('a', 0, true));
      breaker.broke(0, true);
      breaker.admitted(500);
      breaker.reset(other ?? 'a', 500, true);
      breaker.lives(600);
      expect([other, breaker.state]).toEqual([other, other === undefined ? 'closed' : 'open']);
    }
  });

  test('is the loss of the last peer, unless nobody is there', () => {
    for (const reason of reasons) {
      const breaker = opened(reason);
      breaker.recall();
      expect(breaker.state).toBe(reason === 'unreachable' ? 'open' : 'closed');
    }
    const failing = opened('failing');
    failing.failed5xx('a', 10, false);
    const resetting = opened('resetting');
    resetting.reset('a', 10, false);
    const unreachable = opened('unreachable');
    unreachable.reset('a', 10, false);
    expect([failing, resetting, unreachable].map(({ state }) => state)).toEqual([
      'closed',
      'closed',
      'open',
    ]);
  });

  test('is no loss of a peer while it is closed: what was counted stays', () => {
    const breaker = new Breaker(middle);
    times(4, (i) => breaker.reset(`key-${i}`, 0, true));
    breaker.recall();
    breaker.reset('b', 0, true);
    expect(breaker.state).toBe('open');
  });

  test('is an answer after nobody was there, whatever the reason was before: it was started anew', () => {
    const breaker = opened('failing');
    breaker.unreachable(10);
    expect([breaker.reason, breaker.retryAt]).toEqual(['unreachable', 500]);
    breaker.answered(20);
    expect(breaker.state).toBe('closed');
  });
});

/** Drives a breaker through events in any order, with the requests that a pool would have open. */
class World {
  now = 0;
  probes = 0;
  readonly breaker: Breaker;
  /** What `admitted` gave for each open request. */
  readonly open: (Probe | undefined)[] = [];
  /** The probe that has neither ended nor had its verdict. */
  out: Probe | undefined;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
    this.breaker = new Breaker(() => random.below(1_000) / 1_000);
  }

  step(): void {
    const event = this.#random.below(10);
    if (event < 6) this.hear(event);
    else if (event === 6) this.send();
    else if (event === 7) this.end();
    else this.now += this.#random.pick([0, 1, 200, 5_000, 40_000]);
  }

  hear(event: number): void {
    const { breaker, now } = this;
    const { reason } = breaker;
    const principal = this.#random.pick(['a', 'b', 'c']);
    const canSpare = !this.#random.oneIn(4);
    const count = 1 + this.#random.below(6);
    if (event === 0) breaker.unreachable(now);
    if (event === 1) breaker.succeeded(now);
    if (event === 2) this.breakConnections(principal, count, canSpare);
    if (event === 3) times(count, (i) => breaker.failed5xx(`key-${i}`, now, canSpare));
    if (event === 4) breaker.answered(now);
    if (event === 5) this.look(canSpare);
    if (event === 4 && reason === 'failing') return;
    if (event === 5 && breaker.state === 'half-open') return;
    this.out = undefined;
  }

  breakConnections(principal: string, count: number, canSpare: boolean): void {
    times(count, () => this.breaker.reset(principal, this.now, canSpare));
  }

  look(canSpare: boolean): void {
    const { breaker, now } = this;
    const sight = this.#random.below(3);
    if (sight === 0) breaker.reached(now);
    if (sight === 1) breaker.lives(now);
    if (sight === 2) breaker.broke(now, canSpare);
  }

  send(): void {
    if (!this.breaker.canAdmit(this.now)) return;
    const probe = this.breaker.admitted(this.now);
    expect(this.out).toBeUndefined();
    this.open.push(probe);
    this.out = probe;
    if (probe !== undefined) this.probes++;
  }

  /** Some request ends, and tells no more than that. */
  end(): void {
    if (this.open.length === 0) return;
    const [probe] = this.open.splice(this.#random.below(this.open.length), 1);
    this.breaker.probeEnded(probe);
    if (probe === this.out) this.out = undefined;
  }
}

/** Runs `body` before every one of many random events. */
async function always(body: (world: World, random: Random) => void): Promise<void> {
  await forSeeds(60, (random) => {
    const world = new World(random);
    times(400, () => {
      body(world, random);
      world.step();
    });
  });
}

describe('in any order of events', () => {
  test('at most one probe is out, and nothing else is admitted beside it', async () => {
    const seen = { probes: 0 };
    await always(({ breaker, now, out, probes }) => {
      seen.probes += probes;
      expect(breaker.state === 'half-open').toBe(out !== undefined);
      if (breaker.state === 'half-open') {
        expect(breaker.canAdmit(now + 1e9)).toBe(false);
        expect(breaker.admitted(now + 1e9)).toBeUndefined();
      }
      if (breaker.state === 'closed') expect(breaker.canAdmit(now)).toBe(true);
      if (breaker.state === 'open') expect(breaker.canAdmit(now)).toBe(now >= breaker.retryAt);
      expect(breaker.reason === undefined).toBe(breaker.state === 'closed');
    });
    expect(seen.probes).toBeGreaterThan(100);
  });

  test('it is never stuck: when every request has ended, time alone leads to the next one', async () => {
    const seen = { open: 0 };
    await always((world) => {
      const { breaker, now } = world;
      expect(breaker.retryAt - now).toBeLessThanOrEqual(37_500);
      if (breaker.state === 'closed') return;
      seen.open++;
      while (world.open.length > 0) world.end();
      expect(breaker.canAdmit(now + 37_500)).toBe(true);
    });
    expect(seen.open).toBeGreaterThan(100);
  });

  test('an answer always closes one that was away, and only a success one that was failing', async () => {
    const seen = { away: 0, failing: 0 };
    await always((world, random) => {
      const { breaker, now } = world;
      const { reason } = breaker;
      if (reason === undefined || random.oneIn(3)) return;
      const isFailing = reason === 'failing';
      breaker.answered(now);
      expect(breaker.reason).toBe(isFailing ? 'failing' : undefined);
      if (isFailing && random.oneIn(2)) return;
      seen[isFailing ? 'failing' : 'away']++;
      breaker.succeeded(now);
      expect(breaker.reason).toBeUndefined();
      world.out = undefined;
    });
    expect(Math.min(seen.away, seen.failing)).toBeGreaterThan(100);
  });

  test('nothing that requests meet opens it while no peer can serve', async () => {
    await forSeeds(20, (random) => {
      const breaker = new Breaker(middle);
      times(300, (now) => {
        const principal = random.pick(['a', 'b', 'c']);
        const event = random.below(10);
        if (event === 0) breaker.answered(now);
        else if (event < 4) breaker.failed5xx(principal, now, false);
        else if (event < 9) breaker.reset(principal, now, false);
        else breaker.broke(now, false);
        expect(breaker.state).toBe('closed');
      });
    });
  });

  test('one principal opens none whose health endpoint answers', async () => {
    await forSeeds(20, (random) => {
      const breaker = new Breaker(middle);
      times(300, (now) => {
        const canSpare = random.oneIn(2);
        const event = random.below(3);
        if (event === 0) breaker.reset('a', now, canSpare);
        if (event === 1) breaker.failed5xx('a', now, canSpare);
        if (event === 2) breaker.lives(now);
        expect(breaker.state).toBe('closed');
      });
    });
  });
});
