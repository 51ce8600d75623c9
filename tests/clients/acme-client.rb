# Ruby's acme-client as its users' programs call it:
#   acme-client.rb obtain OUT NAME…     by http-01 from the folder CHALLENGES: OUT.full.pem and OUT.key
#   acme-client.rb revoke CERT REASON   by the account
# DIRECTORY is the ACME directory, ROOT the root to verify it against, KEY the account's key, made when it is not there.
require 'acme-client'

def account_key
  path = ENV.fetch('KEY')
  File.write(path, OpenSSL::PKey::EC.generate('prime256v1').to_pem) unless File.exist?(path)
  OpenSSL::PKey.read(File.read(path))
end

def until_settled(what)
  100.times do
    return what.status unless %w[pending processing].include?(what.status)
    sleep 0.2
    what.reload
  end
  abort "still #{what.status} after 20 s"
end

def prove(authorization)
  return if authorization.status == 'valid'
  challenge = authorization.http
  File.write(File.join(ENV.fetch('CHALLENGES'), challenge.token), challenge.file_content)
  challenge.request_validation
  abort "the challenge is #{challenge.status}: #{challenge.error}" unless until_settled(challenge) == 'valid'
end

def obtain(client, out, names)
  order = client.new_order(identifiers: names)
  order.authorizations.each { |authorization| prove(authorization) }
  order.reload
  key = OpenSSL::PKey::RSA.new(2048)
  order.finalize(csr: Acme::Client::CertificateRequest.new(private_key: key, names: names))
  abort "the order is #{order.status}" unless until_settled(order) == 'valid'
  File.write("#{out}.key", key.to_pem)
  File.write("#{out}.full.pem", order.certificate)
end

client = Acme::Client.new(private_key: account_key, directory: ENV.fetch('DIRECTORY'), bad_nonce_retry: 3,
                          connection_options: { ssl: { ca_file: ENV.fetch('ROOT') } })
client.new_account(contact: 'mailto:ops@chancery.test', terms_of_service_agreed: true)
command, *rest = ARGV
case command
when 'obtain' then obtain(client, rest.shift, rest)
when 'revoke' then client.revoke(certificate: File.read(rest[0]), reason: Integer(rest[1]))
else abort "acme-client.rb obtain OUT NAME… | revoke CERT REASON"
end
