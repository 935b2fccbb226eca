//! PageRank: a loop that joins the ranks of one round with the links to compute the ranks of the next round.
//!
//!     cargo run --release --example page_rank [PAGES]
//!
//! The links are partitioned by page once, and cached. The ranks from `reduce_by_key` are partitioned in the same way.
//! So each round shuffles only what pages give one another. A plain loop over a vector computes the same ranks, and the
//! program compares the two.

use tryworks::prelude::*;

const ROUNDS: usize = 20;
const DAMPING: f64 = 0.85;

/// The pages that `page` links to: small numbers are popular.
fn links(pages: u64, page: u64) -> impl Iterator<Item = u64> {
    let mix = |n: u64| (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
    (0..2 + page % 5).map(move |n| {
        let random = mix(mix(page) + n) % pages;
        random * random / pages
    })
}

fn main() -> Result<()> {
    let cx = Context::init()?;
    let pages: u64 = std::env::args_os().nth(1).and_then(|pages| pages.to_str()?.parse().ok()).unwrap_or(5_000);

    let outgoing = cx.range(0..pages).with(pages).flat_map_into(|pages, page, out| {
        out.extend(links(*pages, page).map(|other| (page, other)));
    });
    let outgoing = outgoing.shuffle_into(8).group_by_key().cache();
    let mut ranks: Data<(u64, f64)> = outgoing.map_values(|_| 1.0).boxed();
    for _ in 0..ROUNDS {
        let given = outgoing.join(&ranks).flat_map_into(|(page, (links, rank)), out| {
            // This keeps a page without incoming links in the dataset.
            out.push((page, 0.0));
            let each = rank / links.len() as f64;
            out.extend(links.into_iter().map(|other| (other, each)));
        });
        ranks = given.reduce_by_key(|a, b| a + b).map_values(|sum| 1.0 - DAMPING + DAMPING * sum).boxed();
    }

    let mut ranked = ranks.collect()?;
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    println!("{pages} pages after {ROUNDS} rounds; the first:");
    for (page, rank) in ranked.iter().take(5) {
        println!("{rank:>10.4} page {page}");
    }

    let expected = one_after_another(pages);
    assert_eq!(ranked.len(), expected.len());
    for (page, rank) in ranked {
        let expected = expected[page as usize];
        assert!((rank - expected).abs() < 1e-9 * expected, "page {page}: {rank}, and a plain loop gives {expected}");
    }
    println!("A plain loop gives the same ranks.");
    Ok(())
}

/// The ranks by a plain loop.
fn one_after_another(pages: u64) -> Vec<f64> {
    let mut ranks = vec![1.0; pages as usize];
    for _ in 0..ROUNDS {
        let mut sums = vec![0.0; pages as usize];
        for page in 0..pages {
            let each = ranks[page as usize] / links(pages, page).count() as f64;
            links(pages, page).for_each(|other| sums[other as usize] += each);
        }
        ranks = sums.into_iter().map(|sum| 1.0 - DAMPING + DAMPING * sum).collect();
    }
    ranks
}
