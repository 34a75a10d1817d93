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
    const cursor = this.#sql.exec(statement, ...binds);
    return this.#counted(cursor, cursor.raw().toArray());
  }

  /** Run a query and stop with the row by which the texts of the last column have reached `chars`: no more is ever held. */
  read(chars, query, ...binds) {
    const cursor = this.#sql.exec(query, ...binds);
    const rows = [];
    let held = 0;
    for (const row of cursor.raw()) {
      rows.push(row);
      held += row.at(-1).length;
      if (held >= chars) break;
    }
    return this.#counted(cursor, rows);
  }

  #counted(cursor, rows) {
    this.statements += 1;
    // Only now: a cursor counts as it goes.
    this.rowsRead += cursor.rowsRead;
    this.rowsWritten += cursor.rowsWritten;
    return rows;
  }
}
