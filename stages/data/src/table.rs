//! Tables of named columns, as Parquet files.
//!
//! Files are byte-for-byte determined by the content: uncompressed, one row group, a fixed `created_by`. Columns have
//! a value in every row.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ablate_stage::{BadArtifact, StageError};
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

const CREATED_BY: &str = "ablate";

/// The values of a column, one a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Text.
    Text(Vec<String>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::I64(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    fn schema(&self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Self::I64(_) => (PhysicalType::INT64, None),
            Self::F64(_) => (PhysicalType::DOUBLE, None),
            Self::Text(_) => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(logical)
            .build()
    }
}

/// A table: columns of equal length, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    columns: Vec<(String, Column)>,
}

impl Columns {
    /// Without any column.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column.
    ///
    /// # Panics
    /// When there is one of that name, or the others have another length.
    #[must_use]
    pub fn with(mut self, name: &str, column: Column) -> Self {
        assert!(self.get(name).is_none(), "two columns are called `{name}`");
        let rows = self.rows().unwrap_or(column.len());
        assert_eq!(column.len(), rows, "column `{name}` does not have as many rows as the others");
        self.columns.push((name.to_owned(), column));
        self
    }

    /// Number of rows, where there is a column.
    pub fn rows(&self) -> Option<usize> {
        self.columns.first().map(|(_, column)| column.len())
    }

    /// A column by name.
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(of, _)| of == name).map(|(_, column)| column)
    }

    /// The columns in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Column)> {
        self.columns.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// Writes a Parquet file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let file = File::create(path).map_err(StageError::io(path))?;
        let failed = |error: ParquetError| StageError::Failed(format!("{}: {error}", path.display()));
        self.write_to(file).map_err(failed)
    }

    fn write_to(&self, file: File) -> Result<(), ParquetError> {
        let fields = self.iter().map(|(name, column)| column.schema(name).map(Arc::new));
        let fields = fields.collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("table").with_fields(fields).build()?;
        let properties = WriterProperties::builder().set_created_by(CREATED_BY.to_owned()).build();
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        for (name, column) in self.iter() {
            let missing = || ParquetError::General(format!("no place for column `{name}`"));
            let mut out = group.next_column()?.ok_or_else(missing)?;
            match column {
                Column::I64(values) => out.typed::<Int64Type>().write_batch(values, None, None)?,
                Column::F64(values) => out.typed::<DoubleType>().write_batch(values, None, None)?,
                Column::Text(values) => {
                    let values: Vec<ByteArray> = values.iter().map(|text| text.as_str().into()).collect();
                    out.typed::<ByteArrayType>().write_batch(&values, None, None)?
                }
            };
            out.close()?;
        }
        group.close()?;
        writer.close().map(drop)
    }

    /// The table as comma-separated values, with a line of names. Text that a spreadsheet would take for a formula, because it
    /// starts with `=`, `+`, `-`, `@`, a tab or a carriage return, is given a leading apostrophe, as such programs write it themselves.
    pub fn csv(&self) -> String {
        let mut csv = String::new();
        let mut line = |cells: Vec<String>| {
            csv.push_str(&cells.join(","));
            csv.push('\n');
        };
        line(self.iter().map(|(name, _)| csv_text(name)).collect());
        for row in 0..self.rows().unwrap_or(0) {
            let cell = |(_, column): (&str, &Column)| match column {
                Column::I64(values) => values[row].to_string(),
                Column::F64(values) => values[row].to_string(),
                Column::Text(values) => csv_text(&values[row]),
            };
            line(self.iter().map(cell).collect());
        }
        csv
    }

    /// Reads a Parquet file of such columns.
    ///
    /// # Errors
    /// Where it is not one, or has columns of other types, nested, or without a value in some rows.
    pub fn read(path: &Path) -> Result<Self, BadArtifact> {
        let file = File::open(path).map_err(|error| BadArtifact::new(error.to_string()))?;
        Self::read_from(file).map_err(|error| BadArtifact::new(error.to_string()))
    }

    fn read_from(file: File) -> Result<Self, ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let mut columns = Vec::with_capacity(schema.num_columns());
        for (at, descriptor) in schema.columns().iter().enumerate() {
            let name = descriptor.path().string();
            if descriptor.max_def_level() > 0 || descriptor.max_rep_level() > 0 {
                let found = format!("column `{name}` is nested or may lack values, expected one value a row");
                return Err(ParquetError::General(found));
            }
            let mut column = match descriptor.physical_type() {
                PhysicalType::INT64 => Column::I64(Vec::new()),
                PhysicalType::DOUBLE => Column::F64(Vec::new()),
                PhysicalType::BYTE_ARRAY => Column::Text(Vec::new()),
                other => {
                    let found = format!("column `{name}` is {other}, expected INT64, DOUBLE or text");
                    return Err(ParquetError::General(found));
                }
            };
            for group in 0..reader.num_row_groups() {
                match (reader.get_row_group(group)?.get_column_reader(at)?, &mut column) {
                    (ColumnReader::Int64ColumnReader(reader), Column::I64(values)) => {
                        read_all(reader, values)?
                    }
                    (ColumnReader::DoubleColumnReader(reader), Column::F64(values)) => {
                        read_all(reader, values)?
                    }
                    (ColumnReader::ByteArrayColumnReader(reader), Column::Text(texts)) => {
                        let mut values = Vec::new();
                        read_all(reader, &mut values)?;
                        for value in values {
                            texts.push(value.as_utf8()?.to_owned());
                        }
                    }
                    _ => return Err(ParquetError::General(format!("column `{name}` changes its type"))),
                }
            }
            columns.push((name, column));
        }
        Ok(Self { columns })
    }
}

fn csv_text(text: &str) -> String {
    let text =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn read_all<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    values: &mut Vec<T::T>,
) -> Result<(), ParquetError> {
    const AT_ONCE: usize = 1 << 16;
    while reader.read_records(AT_ONCE, None, None, values)?.0 > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ablate_stage::ArtifactKind;

    use super::*;

    fn table() -> Columns {
        Columns::new()
            .with("epoch", Column::I64(vec![0, 1, 2]))
            .with("loss", Column::F64(vec![4.5, -0.25, 1e300]))
            .with("note", Column::Text(vec!["".into(), "naïve".into(), "x".repeat(1000)]))
    }

    #[test]
    fn a_written_table_reads_back_and_is_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("1"), dir.path().join("2")];
        let long = Columns::new().with("row", Column::I64((0..200_000).collect()));
        for table in [table(), long, Columns::new().with("none", Column::F64(vec![]))] {
            for path in &paths {
                table.write(path).unwrap();
                ArtifactKind::Curve.check(path).unwrap();
                assert_eq!(Columns::read(path).unwrap(), table);
            }
            assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
        }
    }

    #[test]
    fn comma_separated_values_are_quoted_where_they_must_be() {
        let text = ["plain", "a, \"b\"", "=1+1", "two\nlines"].map(str::to_owned);
        let table = Columns::new()
            .with("n", Column::I64(vec![1, -2, 3, 4]))
            .with("x", Column::F64(vec![0.5, -1.0, 1e-7, 3.0]))
            .with("text, too", Column::Text(text.to_vec()));
        let expected =
            "n,x,\"text, too\"\n1,0.5,plain\n-2,-1,\"a, \"\"b\"\"\"\n3,0.0000001,'=1+1\n4,3,\"two\nlines\"\n";
        assert_eq!(table.csv(), expected);
    }

    #[test]
    fn a_table_cut_short_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        table().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            fs::write(&path, &bytes[..len]).unwrap();
            assert!(Columns::read(&path).is_err(), "{len} of {} bytes", bytes.len());
        }
    }

    #[test]
    #[should_panic(expected = "column `loss` does not have as many rows as the others")]
    fn columns_have_equal_lengths() {
        drop(Columns::new().with("epoch", Column::I64(vec![0])).with("loss", Column::F64(vec![])));
    }
}
