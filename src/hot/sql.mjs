// One agent's SQLite as Python and the pump use it: one crossing per statement, and a count of what each cost by the
// platform's own reckoning, which is the bill. Knows no table.

export class Sql {
  #sql;
  statements = 0;
  rowsRead = 0;
  rowsWritten = 0;

  constructor(sql) {
    this.#sql = sql;
  }

  /** Run one statement; its rows as arrays. */
  exec(statement, ...binds) {
    this.statements += 1;
    const cursor = this.#sql.exec(statement, ...binds);
    const rows = cursor.raw().toArray();
    // Only now: a cursor counts as it goes.
    this.rowsRead += cursor.rowsRead;
    this.rowsWritten += cursor.rowsWritten;
    return rows;
  }
}
