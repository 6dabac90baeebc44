/**
 * The contract of the store that keeps issued keys and the audit log, and what both are made of.
 */
import type { IssuedKey } from './keys.ts';
import type { MaybePromise } from './limits.ts';

export type AuditAction =
  'key_added' | 'key_changed' | 'key_rotated' | 'key_revoked' | 'request_stopped';

/** Something that was done with the admin key or at the command line; never a secret or a digest. */
export interface AuditEntry {
  /** Epoch milliseconds. */
  at: number;
  actor: string;
  action: AuditAction;
  keyId: string | undefined;
  /** The name of the key. */
  name: string | undefined;
  /** Of a key: what was set, as JSON. */
  detail: string | undefined;
}

/** The fields of a key that change; one that is there and `undefined` is taken away. */
export type KeyChange = Partial<Omit<IssuedKey, 'id' | 'createdAt'>>;

/** A change of one key. */
export interface KeyEdit {
  id: string;
  /**
   * Returns the change, from the key as it is now: nobody else changes the key meanwhile. If it throws, that is thrown
   * and nothing changes. A store may call it again when it has to begin anew.
   */
  changeOf: (key: IssuedKey) => KeyChange;
  action: AuditAction;
  actor: string;
  /** Epoch milliseconds. */
  at: number;
}

/** Keeps issued keys and the audit log, also for other processes. Every method throws or rejects if it fails. */
export interface AccountStore {
  /** Returns all keys, revoked ones too, oldest first. */
  keys(): MaybePromise<IssuedKey[]>;
  /** Adds a key and notes it in the audit log. Fails if another key has its id or its digest. */
  addKey(key: IssuedKey, actor: string): MaybePromise<void>;
  /** Changes a key, notes that in the audit log, and returns the key as it is then; `undefined` if there is none. */
  changeKey(edit: KeyEdit): MaybePromise<IssuedKey | undefined>;
  /** Returns so many entries of the audit log, the latest first. */
  audit(limit: number): MaybePromise<AuditEntry[]>;
  /** Adds an entry to the audit log; a change of a key has written its own. */
  note(entry: AuditEntry): MaybePromise<void>;
  /**
   * Calls `changed` within a second after another process may have changed a key, or if that cannot be told any more.
   * @returns what ends that
   */
  watch(changed: () => void): () => void;
}
