/**
 * Makes a reader for a field name; `a.b` goes into nested objects. It gives `undefined` for a field that is not there.
 * Only own fields are read: what an object inherits, such as `toString`, is never a field.
 */
export function fieldReader(path: string): (value: unknown) => unknown {
  if (!path.includes('.')) return (value) => own(value, path);
  const names = path.split('.');
  return (value) => {
    let found: unknown = value;
    for (const name of names) {
      found = own(found, name);
      if (found === undefined) return undefined;
    }
    return found;
  };
}

function own(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
    return undefined;
  return (value as Record<string, unknown>)[name];
}
