//! The floor that filling and listing a blocklist are measured against: bare batch calls on a preallocated hash.

use std::time::{Duration, Instant};

use loader::map::{Map, MapParams};
use loader::uapi::bpf::MapType;

/// Runs of each, of which the best counts.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |word| word.parse())?;
    // Numbers without a pattern, each once.
    let keys: Vec<u8> = (0..rules).flat_map(|at| at.wrapping_mul(0x9e37_79b1).to_be_bytes()).collect();
    let values = vec![0; rules as usize * 32];
    let (mut filling, mut listing) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let map = Map::create(&MapParams::new("floor", MapType::HASH, 4, 32, rules))?;
        let start = Instant::now();
        map.update_packed(&keys, &values)?;
        filling = filling.min(start.elapsed());
        let start = Instant::now();
        let mut found = 0;
        map.scan(|keys, _| found += keys.len() / 4)?;
        listing = listing.min(start.elapsed());
        assert_eq!(found, rules as usize);
    }
    for (name, time) in [("bare update batch:", filling), ("bare lookup batch:", listing)] {
        let seconds = time.as_secs_f64();
        println!("{name:<25} {seconds:.3} s, {:.2} M/s", f64::from(rules) / seconds / 1e6);
    }
    Ok(())
}
