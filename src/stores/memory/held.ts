/**
 * What open reservations hold, in memory, by their ids. An array whose places are used again: a Map that is filled and
 * emptied with every request keeps what has left it alive.
 */
import type { Share } from './gcra.ts';

export interface Held {
  readonly principal: string;
  readonly tokens: number;
  readonly promptTokens: number;
  /** Whether its answers have tokens, so that the usual length can be learnt from them. */
  readonly hasAnswers: boolean;
  readonly takenAtMs: number;
  readonly requestShare: Share | undefined;
  readonly tokenShare: Share | undefined;
  /** Whether its tokens count for a day and a month. */
  readonly hasBudget: boolean;
}

/** More are never open at once. */
const maxPlaces = 2 ** 20;
/** So that an id is a whole number that a double holds exactly. */
const maxUses = 2 ** 32;

export class HeldReservations {
  readonly #places: (Held | undefined)[] = [];
  /** How often each place has been used. */
  readonly #uses: number[] = [];
  readonly #free: number[] = [];

  /** Returns the id of what is held from now on: its place, and how often that has been used. */
  add(held: Held): number {
    const place = this.#free.pop() ?? this.#places.length;
    const uses = ((this.#uses[place] ?? 0) + 1) % maxUses;
    this.#places[place] = held;
    this.#uses[place] = uses;
    return uses * maxPlaces + place;
  }

  /** Returns what an id holds, once; `undefined` if it holds nothing any more or never did. */
  take(id: string | number): Held | undefined {
    if (typeof id !== 'number') return undefined;
    const place = id % maxPlaces;
    const held = this.#places[place];
    if (held === undefined || this.#uses[place] !== Math.floor(id / maxPlaces)) return undefined;
    this.#places[place] = undefined;
    this.#free.push(place);
    return held;
  }
}
