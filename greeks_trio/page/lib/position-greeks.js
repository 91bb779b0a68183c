// The Greeks and the value of a whole position, live.  They equal those of `/v1/risk/positions`.

/** The columns of a position, each with the column of one contract. */
export const POSITION_FIELDS = {
  position_delta: "delta",
  position_gamma: "gamma",
  position_theta: "theta",
  position_vega: "vega",
  position_rho: "rho",
  position_value: "price",
};

// Units of the underlying, and not money.
const IN_UNITS = new Set(["position_delta", "position_gamma"]);
// The root of an adjusted option ends with a digit: `LCID1`.
const ADJUSTED = /^\S+\d\s*\d{6}[CP]\d{8}$/;

/**
 * Return a column of `/v1/risk/positions` for a row of the contracts.
 * @returns {number | null} `null`: a part of it is not known, or nothing is held.
 */
export function positionFigure(row, field) {
  if (row.isOther) return row[field];
  const value = row[POSITION_FIELDS[field]];
  const units = IN_UNITS.has(field) ? row.multiplier : moneyUnits(row);
  if (value === null || units === null || row.quantity === null) return null;
  return row.quantity * units * value;
}

function moneyUnits(row) {
  if (row.multiplier === null || row.price_factor === null) return null;
  if (row.valueUnits !== undefined) return row.valueUnits;
  return ADJUSTED.test(row.contract_key) ? null : row.multiplier * row.price_factor;
}
