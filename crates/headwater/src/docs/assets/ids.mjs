// Abbreviated ids, for the narrow column beside an item.

/** Maximum number of characters shown. */
const ROOM = 11;

/**
 * Returns the part of an id that distinguishes it from its neighbours: a number without leading zeros and without the
 * stream's suffix (`0000000000000042_k7m2q9xw3d` is `42`), or the beginning and the end of a long text.
 */
export function shortId(id) {
  const number = /^0*(\d+)(?:_[a-z0-9]+)?$/.exec(id);
  if (number && id.length > ROOM && number[1].length <= ROOM) return number[1];
  if (id.length <= ROOM) return id;
  return `${id.slice(0, 3)}…${id.slice(4 - ROOM)}`;
}
