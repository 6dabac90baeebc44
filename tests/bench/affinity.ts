/**
 * What affinity costs a request: microseconds to take the chain of a prompt, to match it and to note it, by the size of
 * the prompt, in an index that is full. It prints and judges nothing.
 */
import { place, type Candidate } from '../../src/scheduling/affinity.ts';
import { JsonBody } from '../../src/wire/jsonbody.ts';
import { promptFactsOf } from '../../src/wire/prompt.ts';
import { PrefixIndex } from '../../src/engines/prefixes.ts';

const chats = 2_000;
const rounds = 500;

/** A conversation whose body has about that many bytes. */
function jsonOf(name: string, kilobytes: number): JsonBody {
  const content = `${name} said: "so it is". ${'Then the tale went on as tales do. '.repeat(26)}\n`;
  const messages = Array.from({ length: Math.ceil(kilobytes) }, () => ({ role: 'user', content }));
  return JsonBody.parse(Buffer.from(JSON.stringify({ model: 'bench', messages, stream: true })));
}

/** Returns the median of the microseconds that one call takes. */
function measure(body: (round: number) => void): string {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = Bun.nanoseconds();
    body(round);
    times.push((Bun.nanoseconds() - start) / 1_000);
  }
  return (times.sort((a, b) => a - b)[rounds >> 1] as number).toFixed(1);
}

const index = new PrefixIndex();
for (let i = 0; i < chats; i++) index.hold(promptFactsOf(jsonOf(`chat ${i}`, 12)).chain);

for (const kilobytes of [1, 8, 64, 256]) {
  const bodies = Array.from({ length: 20 }, (_, i) => jsonOf(`chat ${i}`, kilobytes));
  const chains = bodies.map((body) => promptFactsOf(body).chain);
  // A fresh one each time: its members are looked for once.
  const body = (round: number) => {
    const { bytes, fields } = bodies[round % bodies.length] as JsonBody;
    return new JsonBody(bytes, fields);
  };
  const chain = (round: number) => chains[round % chains.length] as Uint32Array;
  const figures = {
    chain: measure((round) => promptFactsOf(body(round))),
    hold: measure((round) => index.hold(chain(round))),
    match: measure((round) => index.matchOf(chain(round))),
  };
  const text = Object.entries(figures).map(([name, figure]) => `${name} ${figure.padStart(6)} us`);
  console.log(`${String(kilobytes).padStart(4)} KB  ${text.join('  ')}`);
}

const candidates = Array.from({ length: 4 }, (_, i): Candidate => ({
  matchedBlocks: i * 10,
  isShared: i !== 2,
  usedShare: 0.5,
  isFree: i !== 2,
  heldBlocks: 1_000,
  weight: 1,
  prefillBlocksPerMs: 0.03,
  expectedWaitMs: i === 2 ? 1_000 : 0,
  isConversationHome: false,
}));
const placing = measure((turn) => place({ blocks: 40, waitedMs: 0, turn }, candidates));
console.log(`place among 4  ${placing} us; ${index.size} blocks held`);
