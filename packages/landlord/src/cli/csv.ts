/** CSV as RFC 4180 has it, strictly: what it does not allow is an error that names the line. */

export interface CsvRow {
  /** The line of the file that it begins in, from 1. */
  readonly line: number;
  readonly cells: readonly string[];
}

const ROWS_LIMIT = 1_000_000;

/**
 * The rows, the head among them. A byte order mark is skipped, lines may end with CRLF or LF, and an empty line is none.
 * Throws Error with a sentence that names the line.
 */
export function parseCsv(source: string): readonly CsvRow[] {
  const text = source.replace(/^\ufeff/, "");
  const rows: CsvRow[] = [];
  let line = 1;
  let start = 1;
  let cells: string[] = [];
  for (let at = 0; at < text.length;) {
    const cell = text[at] === '"' ? quoted(text, at, line) : plain(text, at, line);
    cells.push(cell.value);
    line += cell.lines;
    const end = text.slice(cell.end, cell.end + 2);
    if (end.startsWith(",")) {
      at = cell.end + 1;
      // A comma at the very end is followed by an empty cell.
      if (at === text.length) cells.push("");
      else continue;
    } else if (end === "\r\n") at = cell.end + 2;
    else if (end.startsWith("\n")) at = cell.end + 1;
    else if (end === "") at = cell.end;
    else throw new Error(`line ${line}: there is text after the closing quote`);
    if (cells.length > 1 || cells[0] !== "") rows.push({ line: start, cells });
    if (rows.length > ROWS_LIMIT) throw new Error(`more than ${ROWS_LIMIT} rows: split the file`);
    cells = [];
    line += 1;
    start = line;
  }
  return rows;
}

interface Cell {
  readonly value: string;
  /** Where the text goes on. */
  readonly end: number;
  /** Line ends within it. */
  readonly lines: number;
}

function plain(text: string, at: number, line: number): Cell {
  const stop = /[,\r\n"]/g;
  stop.lastIndex = at;
  const found = stop.exec(text);
  const end = found === null ? text.length : found.index;
  if (found?.[0] === '"') throw new Error(`line ${line}: a quote within a cell that is not in quotes`);
  if (found?.[0] === "\r" && text[end + 1] !== "\n")
    throw new Error(`line ${line}: a carriage return without line feed`);
  return { value: text.slice(at, end), end, lines: 0 };
}

function quoted(text: string, at: number, line: number): Cell {
  let value = "";
  for (let from = at + 1; ;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) throw new Error(`line ${line}: the quote that opens there is never closed`);
    value += text.slice(from, quote);
    if (text[quote + 1] !== '"') {
      return { value, end: quote + 1, lines: value.split("\n").length - 1 };
    }
    value += '"';
    from = quote + 2;
  }
}
