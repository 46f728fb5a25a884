/**
 * Makes a reader for a field name; `a.b` goes into nested objects. It gives `undefined` for a field that is not there.
 * Only own fields are read: what an object inherits, such as `toString`, is never a field.
 */
export function fieldReader(path: string): (value: unknown) => unknown {
  if (!path.includes('.')) return path in Object.prototype ? (value) => own(value, path) : plainReader(path);
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

// What JSON.parse makes inherits from Object.prototype alone: a name that is not there needs no look at who owns it.
function plainReader(name: string): (value: unknown) => unknown {
  return (value) => {
    if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
      return (value as Record<string, unknown>)[name];
    return own(value, name);
  };
}

function own(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
    return undefined;
  return (value as Record<string, unknown>)[name];
}

/** Sets a field of an object that is being made. A field named `__proto__` is plain data: the prototype stays as it is. */
export function putField(target: object, name: string, value: unknown): void {
  if (name !== '__proto__') (target as Record<string, unknown>)[name] = value;
  else Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Says in words what kind of JSON value this is, for messages that must not show the value itself. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
