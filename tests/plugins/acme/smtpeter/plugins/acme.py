from zope.interface import implementer

from smtpeter import api


@implementer(api.IFeaturePlugin, api.IPreparingFeature, api.IPersonalizingFeature, api.IResourceFeature)
class Survey:
    name, after, before = "acme", (), ("trackclicks",)
    options = (api.Option("survey", "asks readers what they think", aliases=("ask_readers",)),)
    on_failure = api.FailurePolicy.SEND

    def configure(self, section, services):
        self.services, self.links = services, services.links
        self.question = str(section.get("question", "How do you like this?"))
        return self

    def wants(self, options):
        return api.switched_on(options, "survey")

    def prepare(self, message, context):
        begin = f"\r\n{self.question} {self.services.tracking_url}/t/acme/".encode("ascii", "replace")
        token = api.Slot("acme", self.links.current, api.TOKEN_LENGTH)
        end = f"/{self.links.destination(context.submission, context.account, b'')}\r\n".encode("ascii")
        for leaf in message.plain:
            if leaf.takes_slots:
                leaf.splice([(len(leaf.octets), len(leaf.octets), (begin, token, end))])

    def values(self, keys, addressee):
        return [self.links.token(key, addressee.submission, addressee.number) for key in keys]

    def serve(self, request):
        found = self.links.read(*request.tail.partition("/")[::2])
        if found is None or self.services.is_blocked(found.account, found.submission):
            return api.NOT_FOUND
        self.services.record(api.EventKind.CLICK, found.submission, found.number, {"destination": "survey"}, request)
        return api.WebResponse(200, ((b"Content-Type", b"text/plain"),), b"Thank you!\n")


plugin = Survey()
