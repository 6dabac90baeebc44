/**
 * Affinity: where requests are placed, and which share of the possible cache hits is reached, in a simulated world of
 * four engines.
 */
import { describe, expect, test, setDefaultTimeout } from 'bun:test';
import { place, ConversationHomes, type Candidate } from '../../../src/scheduling/affinity.ts';
import {
  harshScenarios,
  longScenarios,
  quickScenarios,
  type Scenario,
} from '../../support/affinity-scenarios.ts';
import { runWorld, type Policy } from '../../support/affinity-world.ts';
import { forSeeds } from '../../support/random.ts';

// The worlds below are computed, some thousand requests each: a busy machine takes its time.
setDefaultTimeout(120_000);

function candidate(facts: Partial<Candidate>): Candidate {
  const isFree = facts.isFree ?? true;
  return {
    matchedBlocks: 0,
    isShared: true,
    usedShare: isFree ? 0 : 1,
    isFree,
    heldBlocks: 0,
    weight: 1,
    prefillBlocksPerMs: 0.01,
    expectedWaitMs: isFree ? 0 : 1_000,
    isConversationHome: false,
    ...facts,
  };
}

const home = { matchedBlocks: 90, isShared: false };
/** A prompt of 100 blocks at 100 ms a block: computing the 90 that home has takes 9 s. */
const request = { blocks: 100, waitedMs: 0, turn: 0 };

describe('place, when the conversation has a home', () => {
  test('takes it when it is free, however much less there is to do elsewhere', () => {
    const candidates = [candidate({}), candidate({ ...home, usedShare: 0.9 })];
    expect(place(request, candidates)).toEqual({ index: 1, isHeld: false });
  });

  test('waits for it when it is busy and computing elsewhere would take longer', () => {
    const candidates = [candidate({}), candidate({ ...home, isFree: false })];
    expect(place(request, candidates)).toEqual({ index: 1, isHeld: true });
  });

  test('spills when the wait is expected to take longer', () => {
    const busy = candidate({ ...home, isFree: false, expectedWaitMs: 30_000 });
    expect(place(request, [candidate({}), busy])).toEqual({ index: 0, isHeld: false });
  });

  test('spills when it has been held for as long as computing would have cost', () => {
    const candidates = [candidate({}), candidate({ ...home, isFree: false })];
    // Half of the slots are in use: 9 s of computing, and 0.8 s for the move, cost 19.6 s.
    const heldAt = [0, 19_599, 19_600, 60_000].map(
      (waitedMs) => place({ ...request, waitedMs }, candidates).isHeld,
    );
    expect(heldAt).toEqual([true, true, false, false]);
  });

  test('is the more patient the busier all are, within a bound', () => {
    const busy = candidate({ ...home, isFree: false });
    const longestHold = (usedShare: number) => {
      const candidates = [candidate({ usedShare }), busy];
      let seconds = 0;
      while (place({ ...request, waitedMs: seconds * 1_000 }, candidates).isHeld) seconds++;
      return seconds;
    };
    expect([0, 0.5, 0.75, 0.99].map(longestHold)).toEqual([20, 40, 79, 79]);
  });

  test('spills to the one that has most of the prompt', () => {
    const candidates = [
      candidate({}),
      candidate({ ...home, isFree: false, expectedWaitMs: 60_000 }),
      candidate({ matchedBlocks: 40, isShared: false, usedShare: 0.5 }),
    ];
    expect(place(request, candidates)).toEqual({ index: 2, isHeld: false });
  });

  test('does not wait for a little more than a free one has', () => {
    const candidates = [
      candidate({ matchedBlocks: 88, isShared: false }),
      candidate({ ...home, isFree: false, expectedWaitMs: 2_000 }),
    ];
    expect(place(request, candidates)).toEqual({ index: 0, isHeld: false });
  });

  test('is waited for by a short conversation too', () => {
    const short = { blocks: 2, waitedMs: 0, turn: 0 };
    const busy = candidate({ matchedBlocks: 1, isShared: false, isFree: false });
    const heldFor = [1_799, 1_800].map(
      (expectedWaitMs) => place(short, [candidate({}), { ...busy, expectedWaitMs }]).isHeld,
    );
    expect(heldFor).toEqual([true, false]);
  });

  test('does not wait for one that computes more slowly than another computes it all', () => {
    const candidates = [
      candidate({ prefillBlocksPerMs: 1 }),
      candidate({ ...home, isFree: false, prefillBlocksPerMs: 0.01 }),
    ];
    expect(place(request, candidates)).toEqual({ index: 0, isHeld: false });
  });

  test('takes one that has computed nothing yet to be as fast as the others', () => {
    // 90 blocks take 0.9 s at the rate of the home, and 9 s at what is thought where no rate is known.
    const busy = { ...home, isFree: false, expectedWaitMs: 3_000 };
    const fresh = candidate({ prefillBlocksPerMs: undefined });
    const isHeldAt = [0.1, undefined].map((prefillBlocksPerMs) => {
      return place(request, [fresh, candidate({ ...busy, prefillBlocksPerMs })]).isHeld;
    });
    expect(isHeldAt).toEqual([false, true]);
  });

  test('of two that hold as much takes the one that the conversation used', () => {
    const candidates = [candidate(home), candidate({ ...home, isConversationHome: true })];
    expect(place(request, candidates).index).toBe(1);
  });

  test('takes the longest match before the conversation', () => {
    const candidates = [candidate(home), candidate({ isConversationHome: true })];
    expect(place(request, candidates).index).toBe(0);
  });

  test('takes the conversation where nothing matches, and does not wait for it', () => {
    const free = [candidate({}), candidate({ isConversationHome: true, usedShare: 0.5 })];
    expect(place(request, free)).toEqual({ index: 1, isHeld: false });
    const busy = [candidate({}), candidate({ isConversationHome: true, isFree: false })];
    expect(place(request, busy)).toEqual({ index: 0, isHeld: false });
  });
});

describe('place, when it has none', () => {
  test('takes the least loaded for its weight', () => {
    const candidates = [
      candidate({ usedShare: 0.5 }),
      candidate({ usedShare: 0.75, weight: 2 }),
      candidate({ usedShare: 0.6 }),
    ];
    expect(place(request, candidates).index).toBe(1);
  });

  test('then the longest common beginning, then the fewest held blocks', () => {
    const common = [candidate({ matchedBlocks: 3 }), candidate({ matchedBlocks: 8 })];
    expect(place(request, common).index).toBe(1);
    const held = [candidate({ heldBlocks: 500 }), candidate({ heldBlocks: 20 })];
    expect(place(request, held).index).toBe(1);
  });

  test('takes equals in turn', () => {
    const equals = [candidate({}), candidate({}), candidate({})];
    const taken = [0, 1, 2, 3, 4, 5].map((turn) => place({ ...request, turn }, equals).index);
    expect(new Set(taken.slice(0, 3)).size).toBe(3);
    expect(taken.slice(3)).toEqual(taken.slice(0, 3));
  });

  test('never waits for one that has only a common beginning', () => {
    const candidates = [candidate({}), candidate({ matchedBlocks: 90, isFree: false })];
    expect(place(request, candidates)).toEqual({ index: 0, isHeld: false });
  });
});

test('whatever the figures, a request starts only where there is room, and is held for a bounded time', async () => {
  await forSeeds(2_000, (random) => {
    const blocks = random.below(1_000);
    const candidates = Array.from({ length: 1 + random.below(6) }, () =>
      candidate({
        matchedBlocks: random.below(blocks + 1),
        isShared: random.oneIn(2),
        isFree: random.oneIn(2),
        usedShare: random.below(101) / 100,
        weight: 1 + random.below(3),
        prefillBlocksPerMs: 0.01 + random.below(100) / 1_000,
        expectedWaitMs: random.below(5_000),
        isConversationHome: random.oneIn(5),
      }),
    );
    candidates.push(candidate({ isFree: true }));
    const at = (waitedMs: number) => place({ blocks, waitedMs, turn: random.below(9) }, candidates);
    const now = at(random.below(10_000));
    expect(candidates[now.index]?.isFree).toBe(!now.isHeld);
    const longestMs = (8 * (blocks + 8)) / 0.01;
    expect(at(longestMs).isHeld).toBe(false);
  });
});

describe('ConversationHomes', () => {
  test('remembers where a conversation went last', () => {
    const homes = new ConversationHomes();
    homes.set('a', 'one');
    homes.set('b', 'two');
    homes.set('a', 'three');
    expect([homes.get('a'), homes.get('b'), homes.get('c')]).toEqual(['three', 'two', undefined]);
  });

  test('forgets the one used longest ago when it has 10,000', () => {
    const homes = new ConversationHomes();
    for (let i = 0; i < 10_000; i++) homes.set(`conversation ${i}`, 'one');
    homes.set('conversation 0', 'one');
    homes.set('another', 'two');
    expect(homes.get('conversation 0')).toBe('one');
    expect(homes.get('conversation 1')).toBeUndefined();
    expect(homes.get('conversation 2')).toBe('one');
  });
});

/** The results of a scenario with several seeds. */
interface Figures {
  /** Cached tokens with each seed, as a share of those that one cache for all would have served. */
  shares: number[];
  /** Means of all. */
  cachedShare: number;
  firstTokenMs: number;
}

function figuresOf(policy: Policy, scenario: Scenario, seeds: number): Figures {
  const runs = Array.from({ length: seeds }, (_, i) => {
    const seeded = { ...scenario, seed: i + 1 };
    const [own, pooled] = [runWorld(policy, seeded), runWorld('pooled', seeded)];
    expect(own.answered).toBe(pooled.answered);
    return { ...own, share: own.cachedShare / pooled.cachedShare };
  });
  return {
    shares: runs.map(({ share }) => share),
    cachedShare: meanOf(runs.map(({ cachedShare }) => cachedShare)),
    firstTokenMs: meanOf(runs.map(({ meanFirstTokenMs }) => meanFirstTokenMs)),
  };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

describe.each([
  ['quick', quickScenarios, 8],
  ['long', longScenarios, 2],
] as const)('in the %s world, with', (_, scenarios, seeds) => {
  test.each(Object.entries(scenarios))(
    '%s: 98 %% of what one cache for all would serve is cached, and first tokens come sooner',
    (_, scenario) => {
      const { shares, cachedShare, firstTokenMs } = figuresOf('affinity', scenario, seeds);
      expect(meanOf(shares)).toBeGreaterThanOrEqual(0.98);
      expect(Math.min(...shares)).toBeGreaterThanOrEqual(0.97);
      for (const policy of ['round', 'loaded'] as const) {
        const other = runWorld(policy, scenario);
        expect(other.cachedShare).toBeLessThan(0.9 * cachedShare);
        expect(firstTokenMs).toBeLessThan(other.meanFirstTokenMs / 1.2);
      }
    },
  );
});

test('with caches far too small for all, nearly as much is cached as one cache for all would serve', () => {
  const { shares } = figuresOf('affinity', harshScenarios.tinyCaches, 3);
  expect(meanOf(shares)).toBeGreaterThanOrEqual(0.88);
});

test('when engines are added, those that wait for the first one go to them', () => {
  const [affinity, round] = [
    figuresOf('affinity', harshScenarios.enginesAdded, 3),
    figuresOf('round', harshScenarios.enginesAdded, 3),
  ];
  expect(meanOf(affinity.shares)).toBeGreaterThanOrEqual(0.98);
  expect(affinity.firstTokenMs).toBeLessThan(round.firstTokenMs / 1.5);
});

test('one prompt of all takes every engine, and none waits for what is only being computed', () => {
  for (const scenario of [harshScenarios.onePromptAtOnce, harshScenarios.onePromptAllTheTime]) {
    const [affinity, round] = [figuresOf('affinity', scenario, 3), figuresOf('round', scenario, 3)];
    expect(affinity.firstTokenMs).toBeLessThan(round.firstTokenMs * 1.01);
  }
});

test('a scenario runs alike each time', () => {
  const scenario = { ...harshScenarios.enginesAdded, answers: 300, seed: 5 };
  expect(runWorld('affinity', scenario)).toEqual(runWorld('affinity', scenario));
});

describe('place, of equals', () => {
  const busy = { ...home, isFree: false };

  test('of two homes takes the free one, though it has more to do', () => {
    const candidates = [
      candidate({ ...busy, usedShare: 0.1 }),
      candidate({ ...home, usedShare: 0.9 }),
    ];
    expect(place(request, candidates)).toEqual({ index: 1, isHeld: false });
  });

  test('of two busy homes waits for the one with the least to do for its weight', () => {
    const candidates = [
      candidate({ ...busy, usedShare: 0.6, weight: 1 }),
      candidate({ ...busy, usedShare: 0.8, weight: 2 }),
      candidate({}),
    ];
    expect(place(request, candidates)).toEqual({ index: 1, isHeld: true });
  });

  test('without a home the least loaded is taken, though another has more of the prompt', () => {
    const candidates = [
      candidate({ usedShare: 0.5, matchedBlocks: 50 }),
      candidate({ usedShare: 0.1 }),
    ];
    expect(place(request, candidates)).toEqual({ index: 1, isHeld: false });
  });

  test('held blocks count by the weight', () => {
    const candidates = [
      candidate({ heldBlocks: 60, weight: 1 }),
      candidate({ heldBlocks: 80, weight: 2 }),
    ];
    expect(place(request, candidates)).toEqual({ index: 1, isHeld: false });
  });

  test('one that has computed nothing yet is as fast as the mean of the others', () => {
    // Of home, busy, all is cached but 10 blocks. Elsewhere 100 blocks take 100 / rate milliseconds.
    const withRates = (...rates: number[]) => [
      candidate({ ...busy, expectedWaitMs: 26_000, prefillBlocksPerMs: rates[0] }),
      candidate({ prefillBlocksPerMs: undefined }),
      candidate({ isFree: false, prefillBlocksPerMs: rates[1] }),
    ];
    // A mean of 0.01: 10 s elsewhere, three times that while two of three are busy, which is longer than to wait.
    expect(place(request, withRates(0.015, 0.005))).toEqual({ index: 0, isHeld: true });
    // A mean of 0.05: 2 s elsewhere.
    expect(place(request, withRates(0.095, 0.005))).toEqual({ index: 1, isHeld: false });
  });
});
