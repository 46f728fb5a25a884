import { type Definition, defineStep, type Expression, Type } from '../operator.ts';
import type { BufferSettings, ErrorPolicy } from './plan.ts';
import type { Site } from './report.ts';
import type { Keeping } from './state-options.ts';
import type { Special } from './values.ts';
import type { Written } from './written.ts';

/** A topology that has been read but not yet checked as a whole: steps with their definitions, options, and places. */
export interface Draft {
  readonly name: string;
  readonly description?: string;
  readonly otherwise?: Route;
  readonly onError?: ErrorPolicy;
  readonly keeping: Keeping;
  readonly streams: readonly DraftStream[];
}

export interface DraftStream {
  readonly name: string;
  readonly site: Site;
  readonly from: readonly Route[];
  readonly steps: readonly DraftStep[];
}

/** A stream by name, and where it is named. */
export interface Route {
  readonly to: string;
  readonly site: Site;
}

export interface DraftStep {
  readonly definition: Definition;
  /** The operator as the user wrote it. */
  readonly name: string;
  readonly site: Site;
  readonly options: unknown;
  /** Problem-free: its definition may look at the options. */
  readonly sound: boolean;
  /** The options as written, below the shorthand. */
  readonly written: Written;
  readonly specials: readonly Special[];
  readonly id?: { readonly name: string; readonly site: Site };
  /** An `id` was meant, though it could not be read. */
  readonly idMeant?: boolean;
  readonly description?: string;
  readonly when?: Pick<Special, 'written' | 'filled' | 'unread'> & { readonly source: Expression };
  readonly otherwise?: Route;
  readonly onError?: ErrorPolicy;
  readonly buffer?: BufferSettings;
  readonly late?: Route;
}

/**
 * Stands in a draft for an item that could not be read, such as one with an unknown operator: it may have been a source, a step or a sink.
 * Nothing is known of the records behind it, and what seems to be missing may stand there.
 */
export const unreadable = defineStep({
  name: 'unreadable',
  summary: 'Stands for what could not be read.',
  options: Type.Unknown(),
  late: true,
  examples: [],
  type: () => undefined,
  create() {
    throw new TypeError('A topology that could not be read has no plan.');
  },
});
