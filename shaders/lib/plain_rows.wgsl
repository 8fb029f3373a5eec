// Rows of x as they are.
alias Row = u32;
alias Columns = u32;

fn rows_begin(first: u32, end: u32, index: u32) {}

fn rows_keep(first: u32, end: u32, index: u32) {}

fn row_of(row: u32, kept: u32) -> Row { return row * K4; }

fn columns_of(k4: u32) -> Columns { return k4; }

fn row_four(row: Row, k4: u32, columns: Columns) -> vec4<f32> { return x[row + k4]; }

fn row_keep(row: Row, k4: u32, four: vec4<f32>) {}
