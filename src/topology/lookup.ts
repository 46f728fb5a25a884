import type { Definition } from '../operator.ts';

/** camelCase of an operator's name: `window-last` and `windowLast` are one. */
export function camelCase(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** kebab-case of an operator's name, as its folder is called. */
export function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Finds operators by the names users write. */
export class Lookup {
  readonly #byName = new Map<string, Definition[]>();

  constructor(catalogue: readonly Definition[]) {
    for (const definition of catalogue) {
      const found = this.#byName.get(definition.name);
      if (found) found.push(definition);
      else this.#byName.set(definition.name, [definition]);
    }
  }

  get names(): readonly string[] {
    return [...this.#byName.keys()];
  }

  knows(name: string): boolean {
    return this.#byName.has(camelCase(name));
  }

  find<K extends Definition['kind']>(name: string, kind: K): Extract<Definition, { kind: K }> | undefined {
    const found = this.#byName.get(camelCase(name))?.find((definition) => definition.kind === kind);
    return found as Extract<Definition, { kind: K }> | undefined;
  }
}
