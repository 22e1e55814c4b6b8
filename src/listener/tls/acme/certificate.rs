//! Certificates: issued ones, requests for them, and those that answer a challenge.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use instant_acme::KeyAuthorization;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use spki::der::{
    Decode, Reader, SliceReader, Tag, Tagged,
    asn1::{AnyRef, GeneralizedTime, UtcTime},
};

/// The certificate for handshakes; empty before the first one.
#[derive(Debug, Default)]
pub(super) struct CertificateSlot(ArcSwapOption<CertifiedKey>);

impl CertificateSlot {
    pub(super) fn set(&self, certificate: Arc<CertifiedKey>) {
        self.0.store(Some(certificate));
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

pub(super) struct IssuedCertificate {
    pub(super) key: Arc<CertifiedKey>,
    /// In seconds since the Unix epoch.
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

impl IssuedCertificate {
    /// Parses a chain and its private key in PEM; `None` unless they belong together.
    pub(super) fn parse(pem: &str, provider: &CryptoProvider) -> Option<Self> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .ok()?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = provider.key_provider.load_private_key(key).ok()?;
        let (not_before, not_after) = validity(chain.first()?)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().ok()?;
        Some(Self {
            key: Arc::new(key),
            not_before,
            not_after,
        })
    }

    pub(super) fn lifetime(&self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }

    /// When a third of the lifetime is left.
    pub(super) fn renew_at(&self) -> u64 {
        self.not_after.saturating_sub(self.lifetime() / 3)
    }
}

/// `notBefore` and `notAfter` of a certificate (RFC 5280 section 4.1), in seconds.
fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let certificate = AnyRef::from_der(certificate).ok()?;
    let signed = AnyRef::decode(&mut SliceReader::new(certificate.value()).ok()?).ok()?;
    let mut members = SliceReader::new(signed.value()).ok()?;
    // The third sequence, after the signature algorithm and the issuer.
    let mut sequences = 0;
    loop {
        let member = AnyRef::decode(&mut members).ok()?;
        sequences += u8::from(member.tag() == Tag::Sequence);
        if sequences == 3 {
            let mut times = SliceReader::new(member.value()).ok()?;
            return Some((time(&mut times)?, time(&mut times)?));
        }
    }
}

fn time<'a>(times: &mut impl Reader<'a>) -> Option<u64> {
    let time = AnyRef::decode(times).ok()?;
    let since_epoch = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    Some(since_epoch.as_secs())
}

/// A key pair and its certificate request, in DER.
pub(super) fn request(domain: &str) -> Result<(KeyPair, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    let request = params.serialize_request(&key)?;
    Ok((key, request.der().to_vec()))
}

/// The certificate that answers a TLS-ALPN-01 check (RFC 8737 section 3).
pub(super) fn challenge(
    domain: &str,
    authorization: &KeyAuthorization,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Box<dyn std::error::Error + Send + Sync>> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let key = provider.key_provider.load_private_key(key)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_lifetime_is_left() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        for (years, lifetime) in [((2025, 2026), 365), ((2045, 2055), 3652)] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
            let issued = IssuedCertificate::parse(&pem, &provider).unwrap();
            assert_eq!(issued.lifetime(), lifetime * 86_400);
            assert_eq!(issued.renew_at(), issued.not_before + lifetime * 86_400 * 2 / 3);
            // The key of another certificate is refused.
            let other = pem.replace(&key.serialize_pem(), &KeyPair::generate().unwrap().serialize_pem());
            assert!(IssuedCertificate::parse(&other, &provider).is_none());
            assert!(IssuedCertificate::parse(&pem[..pem.len() / 2], &provider).is_none());
        }
    }
}
