# Sends files by Net::SMTP over one connection.  Standard input: what to do, in JSON; standard output: the replies.
use strict;
use warnings;
use JSON::PP;
use Net::SMTP;

my $work = decode_json(join "", <STDIN>);
my %tls = (SSL_ca_file => $work->{authority});
my $smtp = Net::SMTP->new($work->{host}, Port => $work->{port}, Timeout => 30, SSL => $work->{tls_first}, %tls)
    or die "no connection: $@\n";
$work->{tls_first} or $smtp->starttls(%tls) or die "no TLS: $@\n";
$smtp->auth($work->{username}, $work->{password}) or refused("AUTH");

my $dsn = $work->{dsn};
my %mail = $dsn ? (Return => $dsn->{ret}, ENVID => $dsn->{envid}) : ();
my %rcpt = $dsn ? (Notify => $dsn->{notify}, ORcpt => $dsn->{orcpt}) : ();
for my $path (@{$work->{messages}}) {
    open my $file, '<:raw', $path or die "$path: $!\n";
    my $content = join "", <$file>;
    $smtp->mail($work->{sender}, %mail) or refused("MAIL");
    my $taken = $smtp->recipient(@{$work->{recipients}}, {SkipBad => $work->{skip_bad}, %rcpt});
    $taken or refused("RCPT");
    ($smtp->data() and $smtp->datasend($content) and $smtp->dataend()) or refused("DATA");
    print $smtp->code, " ", $smtp->message;
}
$smtp->quit;

sub refused { die "$_[0]: ", $smtp->code, " ", $smtp->message }
