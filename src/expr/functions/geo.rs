//! Places on the Earth, in degrees of WGS 84. Single numbers come as people say them, latitude before longitude; points
//! in lists as GeoJSON has them, `[longitude, latitude]`. Distances are in metres along the surface of a sphere of radius
//! 6,371,008.8 m (the mean radius R₁ of the IUGG), which is within 0.6 % of the ellipsoid.

use bumpalo::Bump;
use std::sync::Arc;

use super::{Function, Out, Return, any, float, function, int, made, text, truth};
use crate::data::value::{Map, Val, Value};
use crate::expr::fault::Fault;

/// Metres.
const EARTH_RADIUS: f64 = 6_371_008.8;
/// The digits of geohashes.
const BASE32: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// More digits are finer than a double.
const GEOHASH_DIGITS: usize = 12;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function(
            "geo_distance(lat1, lon1, lat2, lon2)",
            "Metres between two points along the surface of a sphere, by the haversine formula.",
            ("round(geo_distance(52.52, 13.405, 48.137, 11.575) / 1000)", "504"),
            distance,
        ),
        function(
            "geo_bearing(lat1, lon1, lat2, lon2)",
            "The direction from the first point to the second at its start, in degrees clockwise from north, 0 to below 360.",
            ("geo_bearing(0, 0, 0, 1)", "90.0"),
            bearing,
        ),
        function(
            "geo_destination(lat, lon, bearing, distance)",
            "The point that lies so many metres in a direction, as a map of `lat` and `lon`.",
            ("geo_destination(0, 0, 90, 0)", "#{lat: 0.0, lon: 0.0}"),
            destination,
        )
        .lists(),
        function(
            "in_box(lat, lon, south, west, north, east)",
            "Whether a point lies in a box, its edges included; one with `west` above `east` crosses the date line.",
            ("in_box(52.5, 13.4, 52, 13, 53, 14)", "true"),
            in_box,
        ),
        function(
            "in_polygon(lat, lon, polygon)",
            "Whether a point lies in a polygon, its edges included: a list of points `[lon, lat]`, a list of such rings of which the later are holes, or a GeoJSON Polygon or MultiPolygon. Its sides are straight in degrees; it must not cross the date line.",
            ("in_polygon(1, 1, [[0, 0], [3, 0], [0, 3]])", "true"),
            in_polygon,
        ),
        function(
            "geohash(lat, lon, digits?)",
            "The geohash of a point, of 1 to 12 digits (12): places near one another mostly begin alike.",
            ("geohash(57.64911, 10.40744, 6)", "\"u4pruy\""),
            geohash,
        ),
        function(
            "geohash_decode(text)",
            "The middle of a geohash's cell as a map of `lat` and `lon`.",
            ("geohash_decode(\"s\")", "#{lat: 22.5, lon: 22.5}"),
            geohash_decode,
        )
        .lists(),
    ]
}

/// The latitude that argument `i` is, in degrees.
fn latitude(args: &[Val<'_>], i: usize) -> Result<f64, Fault> {
    within(args, i, "latitude", 90.0)
}

/// The longitude that argument `i` is, in degrees.
fn longitude(args: &[Val<'_>], i: usize) -> Result<f64, Fault> {
    within(args, i, "longitude", 180.0)
}

fn within(args: &[Val<'_>], i: usize, what: &str, bound: f64) -> Result<f64, Fault> {
    let degrees = float(args, i)?;
    if degrees.abs() <= bound {
        return Ok(degrees);
    }
    Err(Fault::Unfit(i, format!("is {degrees}, and a {what} is between -{bound} and {bound}; latitude comes first")))
}

/// The two points of the first four arguments, in radians: latitudes and the difference of the longitudes.
fn two_points(args: &[Val<'_>]) -> Result<(f64, f64, f64), Fault> {
    let (lat1, lon1, lat2, lon2) = (latitude(args, 0)?, longitude(args, 1)?, latitude(args, 2)?, longitude(args, 3)?);
    Ok((lat1.to_radians(), lat2.to_radians(), (lon2 - lon1).to_radians()))
}

fn distance<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (lat1, lat2, across) = two_points(args)?;
    let chord = ((lat2 - lat1) / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * (across / 2.0).sin().powi(2);
    Ok(Val::Float(2.0 * EARTH_RADIUS * chord.min(1.0).sqrt().asin()).into())
}

fn bearing<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (lat1, lat2, across) = two_points(args)?;
    let east = across.sin() * lat2.cos();
    let north = lat1.cos() * lat2.sin() - lat1.sin() * lat2.cos() * across.cos();
    let degrees = east.atan2(north).to_degrees().rem_euclid(360.0);
    // A hair west of north comes to 360 when it is rounded.
    Ok(Val::Float(if degrees < 360.0 { degrees } else { 0.0 }).into())
}

fn point<'a>(lat: f64, lon: f64) -> Out<'a> {
    let members = [("lat", lat), ("lon", lon)].map(|(name, degrees)| (name.into(), Value::Float(degrees)));
    Out::Made(Value::Map(Arc::new(Map(members.into()))))
}

fn destination<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (lat, lon) = (latitude(args, 0)?.to_radians(), longitude(args, 1)?.to_radians());
    let (bearing, angle) = (float(args, 2)?.to_radians(), float(args, 3)? / EARTH_RADIUS);
    let sine = (lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos()).clamp(-1.0, 1.0);
    let across = (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * sine);
    let east = (lon + across).to_degrees();
    Ok(point(
        sine.asin().to_degrees(),
        if east.abs() > 180.0 { (east + 180.0).rem_euclid(360.0) - 180.0 } else { east },
    ))
}

fn in_box<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (lat, lon) = (latitude(args, 0)?, longitude(args, 1)?);
    let (south, west, north, east) = (latitude(args, 2)?, longitude(args, 3)?, latitude(args, 4)?, longitude(args, 5)?);
    if south > north {
        return Err(Fault::Unfit(
            2,
            format!("is {south}, which is north of {north}; a box is south, west, north, east"),
        ));
    }
    let between = if west <= east { west <= lon && lon <= east } else { lon >= west || lon <= east };
    truth(between && south <= lat && lat <= north)
}

fn in_polygon<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let (lat, lon) = (latitude(args, 0)?, longitude(args, 1)?);
    let polygon = match any(args, 2) {
        Val::Big(polygon @ (Value::List(_) | Value::Map(_))) => polygon,
        other => return Err(Fault::of(2, other)),
    };
    covers(polygon, (lon, lat)).map_or_else(|| Err(Fault::Unfit(2, NO_POLYGON.into())), truth)
}

const NO_POLYGON: &str = "is not a polygon: a list of at least three points `[lon, lat]`, a list of such rings, or a GeoJSON Polygon or MultiPolygon";

/// Whether a polygon in any of its forms covers a point; `None` if it is none.
fn covers(polygon: &Value, at: (f64, f64)) -> Option<bool> {
    match polygon {
        Value::Map(map) => {
            let (Some(Value::Text(kind)), Some(Value::List(parts))) = (map.get("type"), map.get("coordinates")) else {
                // A GeoJSON Feature has its geometry one level down.
                return map.get("geometry").filter(|g| matches!(g, Value::Map(_))).and_then(|g| covers(g, at));
            };
            match kind.as_str() {
                "Polygon" => rings_cover(parts, at),
                "MultiPolygon" => {
                    let mut inside = false;
                    for part in parts.iter() {
                        let Value::List(rings) = part else { return None };
                        inside |= rings_cover(rings, at)?;
                    }
                    Some(inside)
                }
                _ => None,
            }
        }
        Value::List(items) => match items.first() {
            Some(Value::List(first)) if matches!(first.first(), Some(Value::List(_))) => rings_cover(items, at),
            _ => ring_covers(items, at).map(|place| place != Place::Outside),
        },
        _ => None,
    }
}

/// Whether the first ring covers a point and none of the others, the holes, has it inside; a hole's edge is no hole.
fn rings_cover(rings: &[Value], at: (f64, f64)) -> Option<bool> {
    let mut covered = None;
    for ring in rings {
        let Value::List(points) = ring else { return None };
        let place = ring_covers(points, at)?;
        covered = Some(match covered {
            None => place != Place::Outside,
            Some(covered) => covered && place != Place::Inside,
        });
    }
    covered
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Edge,
    Outside,
}

/// Where a point lies to a ring: inside if a ray from it crosses the ring's sides an odd number of times (the even-odd
/// rule). `None` if it is no ring of at least three points.
fn ring_covers(points: &[Value], (x, y): (f64, f64)) -> Option<Place> {
    let (mut inside, mut edge) = (false, false);
    let mut before = coordinates(points.last()?)?;
    if points.len() < 3 {
        return None;
    }
    for point in points {
        let (from, to) = (before, coordinates(point)?);
        before = to;
        // On which side of the line the point lies; 0 on it.
        let side = (to.0 - from.0) * (y - from.1) - (x - from.0) * (to.1 - from.1);
        let beside = |a: f64, b: f64, at: f64| a.min(b) <= at && at <= a.max(b);
        edge |= side == 0.0 && beside(from.0, to.0, x) && beside(from.1, to.1, y);
        if (from.1 > y) != (to.1 > y) && (side > 0.0) == (to.1 > from.1) {
            inside = !inside;
        }
    }
    Some(if edge {
        Place::Edge
    } else if inside {
        Place::Inside
    } else {
        Place::Outside
    })
}

/// A point as GeoJSON has it: longitude, latitude, and perhaps more.
fn coordinates(point: &Value) -> Option<(f64, f64)> {
    let Value::List(numbers) = point else { return None };
    let number = |i: usize| match numbers.get(i)? {
        Value::Int(n) => Some(*n as f64),
        Value::Float(f) => Some(*f),
        _ => None,
    };
    Some((number(0)?, number(1)?))
}

fn geohash<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (lat, lon) = (latitude(args, 0)?, longitude(args, 1)?);
    let digits = if args.len() > 2 { int(args, 2)? } else { GEOHASH_DIGITS as i64 };
    let Some(digits) = usize::try_from(digits).ok().filter(|d| (1..=GEOHASH_DIGITS).contains(d)) else {
        return Err(Fault::Unfit(2, format!("is {digits}, and a geohash has 1 to {GEOHASH_DIGITS} digits")));
    };
    // Each bit halves a range, longitude first: five bits are a digit.
    let (mut lons, mut lats) = ((-180.0, 180.0), (-90.0, 90.0));
    let halve = |range: &mut (f64, f64), at: f64| {
        let middle = f64::midpoint(range.0, range.1);
        let upper = at >= middle;
        *(if upper { &mut range.0 } else { &mut range.1 }) = middle;
        usize::from(upper)
    };
    let mut hash = String::new();
    for digit in 0..digits {
        let bits = (0..5).fold(0, |bits, bit| {
            let even = (digit * 5 + bit) % 2 == 0;
            bits << 1 | if even { halve(&mut lons, lon) } else { halve(&mut lats, lat) }
        });
        hash.extend(BASE32.get(bits).map(|b| char::from(*b)));
    }
    made(&hash, arena)
}

fn geohash_decode<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let hash = text(args, 0)?;
    let wrong = || Fault::Unfit(0, format!("is not a geohash of 1 to {GEOHASH_DIGITS} digits"));
    if hash.is_empty() || hash.len() > GEOHASH_DIGITS {
        return Err(wrong());
    }
    let (mut lons, mut lats) = ((-180.0, 180.0), (-90.0, 90.0));
    for (i, digit) in hash.bytes().enumerate() {
        let bits = BASE32.iter().position(|b| *b == digit.to_ascii_lowercase()).ok_or_else(wrong)?;
        for bit in 0..5 {
            let range = if (i * 5 + bit) % 2 == 0 { &mut lons } else { &mut lats };
            let middle = f64::midpoint(range.0, range.1);
            *(if bits >> (4 - bit) & 1 == 1 { &mut range.0 } else { &mut range.1 }) = middle;
        }
    }
    Ok(point(f64::midpoint(lats.0, lats.1), f64::midpoint(lons.0, lons.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(points: &[(i64, i64)]) -> Value {
        let point = |(x, y): &(i64, i64)| Value::List(Arc::new(vec![Value::Int(*x), Value::Int(*y)]));
        Value::List(Arc::new(points.iter().map(point).collect()))
    }

    #[test]
    fn polygons_cover_what_lies_inside_and_their_edges() {
        // A square with a square hole, and a star-like shape whose corner lies at the height of the point.
        let square = list(&[(0, 0), (10, 0), (10, 10), (0, 10), (0, 0)]);
        let holed = Value::List(Arc::new(vec![square.clone(), list(&[(4, 4), (6, 4), (6, 6), (4, 6)])]));
        for (polygon, x, y, inside) in [
            (&square, 5.0, 5.0, true),
            (&square, 0.0, 5.0, true),
            (&square, 10.0, 10.0, true),
            (&square, 10.1, 5.0, false),
            (&square, -1.0, 10.0, false),
            (&holed, 5.0, 5.0, false),
            (&holed, 4.0, 5.0, true),
            (&holed, 3.0, 5.0, true),
            (&list(&[(0, 0), (5, 5), (10, 0), (5, 10)]), 1.0, 5.0, false),
            (&list(&[(0, 0), (5, 5), (10, 0), (5, 10)]), 5.0, 6.0, true),
        ] {
            assert_eq!(covers(polygon, (x, y)), Some(inside), "{x} {y} in {polygon:?}");
        }
        assert_eq!(covers(&list(&[(0, 0), (1, 1)]), (0.0, 0.0)), None);
        assert_eq!(covers(&Value::List(Arc::default()), (0.0, 0.0)), None);
    }
}
