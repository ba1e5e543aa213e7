//! Reads the pickles that CIFAR is published in.
//!
//! Python 2 wrote them, by protocol 2: a dictionary of strings, whole numbers, lists and one numpy array of bytes. Only the
//! opcodes and the three numpy globals that such files have are known here. A global is a name that is compared, nothing is
//! imported or called; every other opcode or global is refused with its place in the file.

use std::collections::BTreeMap;

/// Most objects of a pickle. CIFAR-100's have 150,000; an object takes up to 48 bytes.
const MAX_OBJECTS: usize = 1 << 20;

/// Index of an object.
type Id = u32;

/// What a pickle is made of.
#[derive(Clone, Debug, PartialEq)]
enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Bytes(&'a [u8]),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// numpy's type of unsigned bytes.
    ByteType,
    /// An array of bytes, row-major; `None` until it is built.
    Array(Option<(Vec<usize>, &'a [u8])>),
}

/// Names in Python that these pickles use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    /// The function that makes an array to be filled.
    Reconstruct,
    /// The class of arrays.
    NdArray,
    /// The class of element types.
    DType,
}

const GLOBALS: [(&str, Global); 3] = [
    ("numpy.core.multiarray._reconstruct", Global::Reconstruct),
    ("numpy.ndarray", Global::NdArray),
    ("numpy.dtype", Global::DType),
];

/// A pickled dictionary with names for keys.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Vec<(Id, Id)>,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle.
    ///
    /// # Errors
    /// What is wrong with it, as a clause with the offset.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine {
            bytes,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        };
        loop {
            let start = machine.at;
            match machine.step() {
                Ok(false) => {}
                Ok(true) => break,
                Err(reason) => return Err(format!("byte {start}: {reason}")),
            }
        }
        let root = match machine.stack.last().map(|&id| &machine.objects[id as usize]) {
            Some(Object::Dict(items)) => items.clone(),
            Some(_) | None => return Err("it is not a dictionary".to_owned()),
        };
        Ok(Self { objects: machine.objects, root })
    }

    /// What a key stands for.
    fn get(&self, key: &str) -> Result<&Object<'a>, String> {
        let of_key = |&&(name, _): &&(Id, Id)| self.objects[name as usize] == Object::Bytes(key.as_bytes());
        // As in Python, the last of two equal keys counts.
        let item = self.root.iter().rev().find(of_key).ok_or_else(|| format!("it has no `{key}`"))?;
        Ok(&self.objects[item.1 as usize])
    }

    fn list(&self, key: &str) -> Result<&[Id], String> {
        match self.get(key)? {
            Object::List(items) => Ok(items),
            _ => Err(format!("`{key}` is not a list")),
        }
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn ints(&self, key: &str) -> Result<Vec<i64>, String> {
        let int = |&id: &Id| match self.objects[id as usize] {
            Object::Int(value) => Ok(value),
            _ => Err(format!("`{key}` is not a list of whole numbers")),
        };
        self.list(key)?.iter().map(int).collect()
    }

    /// A list of strings.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>, String> {
        let string = |&id: &Id| match self.objects[id as usize] {
            Object::Bytes(text) => Ok(String::from_utf8_lossy(text).into_owned()),
            _ => Err(format!("`{key}` is not a list of strings")),
        };
        self.list(key)?.iter().map(string).collect()
    }

    /// An array of bytes: its shape, and its elements row by row.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn array(&self, key: &str) -> Result<(&[usize], &'a [u8]), String> {
        match self.get(key)? {
            Object::Array(Some((shape, bytes))) => Ok((shape, bytes)),
            _ => Err(format!("`{key}` is not an array")),
        }
    }
}

/// The machine that a pickle is a program for, as far as these files need it.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack that opcodes will go back to.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Does one opcode. Returns whether it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let [opcode] = self.array()?;
        match opcode {
            0x80 => {
                let [protocol] = self.array()?;
                if protocol > 2 {
                    return Err(format!(
                        "it is of protocol {protocol}, and 2 is read, which CIFAR is published in"
                    ));
                }
            }
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Object::None)?,
            0x88 => self.push(Object::Bool(true))?,
            0x89 => self.push(Object::Bool(false))?,
            b'K' => {
                let value = self.array().map(u8::from_le_bytes)?;
                self.push(Object::Int(value.into()))?;
            }
            b'M' => {
                let value = self.array().map(u16::from_le_bytes)?;
                self.push(Object::Int(value.into()))?;
            }
            b'J' => {
                let value = self.array().map(i32::from_le_bytes)?;
                self.push(Object::Int(value.into()))?;
            }
            b'U' => {
                let len = self.array().map(u8::from_le_bytes)?;
                let bytes = self.take(len.into())?;
                self.push(Object::Bytes(bytes))?;
            }
            b'T' => {
                let len = self.array().map(u32::from_le_bytes)?;
                let bytes = self.take(len as usize)?;
                self.push(Object::Bytes(bytes))?;
            }
            b'}' => self.push(Object::Dict(Vec::new()))?,
            b']' => self.push(Object::List(Vec::new()))?,
            b')' => self.push(Object::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(len).filter(|&start| start >= self.floor());
                self.tuple(start.ok_or("a tuple has too few items")?)?;
            }
            b't' => {
                let start = self.mark()?;
                self.tuple(start)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let start = self.mark()?;
                let items = self.stack.split_off(start);
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let start = self.mark()?;
                let items = self.stack.split_off(start);
                self.set(&items)?;
            }
            b'q' => {
                let index = self.array().map(u8::from_le_bytes)?;
                self.memorise(index.into())?;
            }
            b'r' => {
                let index = self.array().map(u32::from_le_bytes)?;
                self.memorise(index)?;
            }
            b'h' => {
                let index = self.array().map(u8::from_le_bytes)?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = self.array().map(u32::from_le_bytes)?;
                self.recall(index)?;
            }
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                let Some((_, global)) = GLOBALS.into_iter().find(|&(known, _)| known == name) else {
                    return Err(format!(
                        "the global `{}`, which CIFAR's files do not use",
                        name.escape_default()
                    ));
                };
                self.push(Object::Global(global))?;
            }
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => {
                return Err(format!(
                    "the opcode `{}` (0x{other:02x}), which CIFAR's files do not use",
                    other.escape_ascii()
                ));
            }
        }
        Ok(false)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let taken = self.bytes[self.at..].get(..len);
        let taken = taken.ok_or_else(|| format!("the file ends here, {len} bytes are to follow"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many bytes are taken"))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take(256).position(|&byte| byte == b'\n').ok_or("a name without an end")?;
        self.at += len + 1;
        Ok(String::from_utf8_lossy(&rest[..len]).into_owned())
    }

    fn push(&mut self, object: Object<'a>) -> Result<(), String> {
        if self.objects.len() >= MAX_OBJECTS {
            return Err(format!("there are more than {MAX_OBJECTS} objects"));
        }
        self.stack.push(self.objects.len() as Id);
        self.objects.push(object);
        Ok(())
    }

    /// Height of the stack that nothing is taken from: that of the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    /// The object on top of the stack, taken off.
    fn pop(&mut self) -> Result<Id, String> {
        let above = self.stack.len() > self.floor();
        above.then(|| self.stack.pop()).flatten().ok_or_else(|| "the stack is empty".to_owned())
    }

    /// The height of the last mark, taken off.
    fn mark(&mut self) -> Result<usize, String> {
        self.marks.pop().ok_or_else(|| "there is no mark".to_owned())
    }

    fn tuple(&mut self, start: usize) -> Result<(), String> {
        let items = self.stack.split_off(start);
        self.push(Object::Tuple(items))
    }

    fn top(&mut self) -> Result<&mut Object<'a>, String> {
        let id = *self.stack.last().ok_or("the stack is empty")?;
        Ok(&mut self.objects[id as usize])
    }

    fn append(&mut self, more: Vec<Id>) -> Result<(), String> {
        match self.top()? {
            Object::List(items) => {
                items.extend(more);
                Ok(())
            }
            _ => Err("items are added to what is not a list".to_owned()),
        }
    }

    fn set(&mut self, more: &[Id]) -> Result<(), String> {
        let pairs = more.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err("a key has no value".to_owned());
        }
        match self.top()? {
            Object::Dict(items) => {
                items.extend(pairs.map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err("keys are added to what is not a dictionary".to_owned()),
        }
    }

    fn memorise(&mut self, index: u32) -> Result<(), String> {
        let id = *self.stack.last().ok_or("the stack is empty")?;
        if self.memo.len() >= MAX_OBJECTS {
            return Err(format!("more than {MAX_OBJECTS} objects are memorised"));
        }
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), String> {
        let id = *self.memo.get(&index).ok_or_else(|| format!("nothing is memorised as {index}"))?;
        self.stack.push(id);
        Ok(())
    }

    fn of(&self, id: Id) -> &Object<'a> {
        &self.objects[id as usize]
    }

    /// The items of a tuple. Those that mean something here have five at most: of more, six are given.
    fn items(&self, id: Id) -> Vec<&Object<'a>> {
        match self.of(id) {
            Object::Tuple(items) => items.iter().take(6).map(|&item| self.of(item)).collect(),
            _ => Vec::new(),
        }
    }

    /// `_reconstruct(ndarray, (0,), 'b')` and `dtype('u1', 0, 1)`: the two calls there are.
    fn reduce(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let made = match (self.of(function), self.items(arguments).as_slice()) {
            (Object::Global(Global::Reconstruct), [Object::Global(Global::NdArray), ..]) => {
                Object::Array(None)
            }
            (Object::Global(Global::DType), [Object::Bytes(name), ..]) => match *name {
                b"u1" => Object::ByteType,
                name => return Err(format!("elements of type `{}`, expected `u1`", name.escape_ascii())),
            },
            _ => return Err("a call that CIFAR's files do not make".to_owned()),
        };
        self.push(made)
    }

    /// The state of an array, `(1, shape, dtype, False, elements)`, or of its type, which says nothing more about bytes.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let object = *self.stack.last().ok_or("the stack is empty")?;
        let built = match (self.of(object), self.items(state).as_slice()) {
            (Object::ByteType, _) => return Ok(()),
            (
                Object::Array(None),
                [
                    Object::Int(1),
                    Object::Tuple(shape),
                    Object::ByteType,
                    Object::Bool(false),
                    Object::Bytes(bytes),
                ],
            ) => {
                let side = |&id: &Id| match self.of(id) {
                    Object::Int(side) => usize::try_from(*side).ok(),
                    _ => None,
                };
                let shape: Option<Vec<usize>> = shape.iter().map(side).collect();
                let shape = shape.ok_or("the shape of an array is not of whole numbers")?;
                let len = shape.iter().try_fold(1_usize, |len, &side| len.checked_mul(side));
                if len != Some(bytes.len()) {
                    return Err(format!("an array of the shape {shape:?} has {} bytes", bytes.len()));
                }
                Object::Array(Some((shape, bytes)))
            }
            _ => return Err("an array of another form than CIFAR's".to_owned()),
        };
        self.objects[object as usize] = built;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        Pickle::read(bytes).unwrap_err()
    }

    #[test]
    fn a_dictionary_is_read() {
        // {'n': [1, 300, -2, 1], 's': ['a', 'bc']}; the last 1 is recalled.
        let bytes = b"\x80\x02}q\x01(U\x01nq\x02]q\x03(K\x01q\x04M\x2c\x01J\xfe\xff\xff\xffh\x04eU\x01s](U\x01aT\x02\0\0\0bceu.";
        let pickle = Pickle::read(bytes).unwrap();
        assert_eq!(pickle.ints("n").unwrap(), [1, 300, -2, 1]);
        assert_eq!(pickle.strings("s").unwrap(), ["a", "bc"]);
        assert_eq!(pickle.ints("s").unwrap_err(), "`s` is not a list of whole numbers");
        assert_eq!(pickle.array("n").unwrap_err(), "`n` is not an array");
        assert_eq!(pickle.ints("x").unwrap_err(), "it has no `x`");
    }

    #[test]
    fn nothing_is_imported_or_called() {
        let system = b"\x80\x02cos\nsystem\n(U\x04truetR.";
        assert_eq!(error(system), "byte 2: the global `os.system`, which CIFAR's files do not use");
        let call = b"\x80\x02cnumpy\ndtype\n(U\x02O8tR.";
        assert_eq!(error(call), "byte 21: elements of type `O8`, expected `u1`");
        let call = b"\x80\x02cnumpy\nndarray\n)R.";
        assert_eq!(error(call), "byte 18: a call that CIFAR's files do not make");
        assert_eq!(error(b"\x80\x02}i."), "byte 3: the opcode `i` (0x69), which CIFAR's files do not use");
        assert_eq!(
            error(b"\x80\x04}."),
            "byte 0: it is of protocol 4, and 2 is read, which CIFAR is published in"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let cases: [(&[u8], &str); 10] = [
            (b"", "byte 0: the file ends here, 1 bytes are to follow"),
            (b"\x80\x02T\xff\xff\xff\xffabc", "byte 2: the file ends here, 4294967295 bytes are to follow"),
            (b"K\x01.", "it is not a dictionary"),
            (b".", "it is not a dictionary"),
            (b"]K\x01K\x02s.", "byte 5: keys are added to what is not a dictionary"),
            (b"}(K\x01u.", "byte 4: a key has no value"),
            (b"](e(\x85.", "byte 4: a tuple has too few items"),
            (b"e.", "byte 0: there is no mark"),
            (b"h\x07.", "byte 0: nothing is memorised as 7"),
            (b"(a", "byte 1: the stack is empty"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(error(bytes), expected);
        }
    }

    #[test]
    fn objects_are_limited() {
        let bytes = [vec![b'N'; MAX_OBJECTS + 1], b".".to_vec()].concat();
        assert_eq!(error(&bytes), "byte 1048576: there are more than 1048576 objects");
    }
}
