//! Makes many different functions and some data, so that the component has a service's size.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

/// Functions in a component of about 1 MB.
const FUNCTIONS: u32 = 1_080;
/// Bytes of data in it.
const DATA: usize = 200 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let times = if env::var("CARGO_PKG_NAME")? == "guest-large" { 2 } else { 1 };
    let folder = env::var("OUT_DIR")?;
    let folder = Path::new(&folder);
    let count = FUNCTIONS * times;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut source = String::new();
    for number in 0..count {
        function(&mut source, number, &mut random)?;
    }
    writeln!(source, "pub static FUNCTIONS: [fn(u64, &[u8]) -> u64; {count}] = [")?;
    for number in 0..count {
        writeln!(source, "    f{number},")?;
    }
    writeln!(source, "];\npub static DATA: &[u8] = include_bytes!(\"data.bin\");")?;
    fs::write(folder.join("bulk.rs"), source)?;
    let data: Vec<u8> =
        (0..DATA * times as usize).map(|_| random.next().to_le_bytes()[3]).collect();
    fs::write(folder.join("data.bin"), data)?;
    Ok(())
}

/// A loop with a branch for each kind of byte: no two functions have the same constants.
fn function(source: &mut String, number: u32, random: &mut Random) -> std::fmt::Result {
    writeln!(source, "fn f{number}(mut x: u64, data: &[u8]) -> u64 {{")?;
    writeln!(source, "    let from = (x as usize) % (data.len() - 16);")?;
    writeln!(source, "    for (at, byte) in data[from..from + 16].iter().enumerate() {{")?;
    writeln!(source, "        x = match byte % 12 {{")?;
    for kind in 0..12 {
        let (a, b, turn) = (random.next(), random.next() | 1, random.next() % 63 + 1);
        let end = if kind == 11 { "_".to_owned() } else { kind.to_string() };
        let work = match random.next() % 4 {
            0 => format!("(x ^ {a}).wrapping_mul({b}).rotate_left({turn})"),
            1 => format!(
                "if x > {a} {{ x.wrapping_sub({b}) }} else {{ x.rotate_right({turn}) ^ at as u64 }}"
            ),
            2 => format!("x.wrapping_add({a}) ^ (u64::from(*byte) << {turn})"),
            _ => format!("(x | {a}) % {b} + at as u64"),
        };
        writeln!(source, "            {end} => {work},")?;
    }
    writeln!(source, "        }};\n    }}\n    x\n}}")
}

/// A small generator with the same numbers in every build (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
