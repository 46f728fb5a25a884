import type { Definition, Expression } from '../operator.ts';
import type { Site } from './report.ts';
import type { Special } from './values.ts';
import type { Written, WrittenScalar } from './written.ts';

/** A topology that has been read but not yet checked as a whole: steps with their definitions, options, and places. */
export interface Draft {
  readonly name: string;
  readonly description?: string;
  readonly otherwise?: Route;
  readonly streams: readonly DraftStream[];
}

export interface DraftStream {
  readonly name: string;
  readonly site: Site;
  readonly from: readonly Route[];
  readonly steps: readonly DraftStep[];
  /** An item could not be read: what seems to be missing may stand there. */
  readonly broken: boolean;
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
  readonly description?: string;
  readonly when?: { readonly source: Expression; readonly written: WrittenScalar; readonly filled: boolean };
  readonly otherwise?: Route;
  readonly late?: Route;
}
