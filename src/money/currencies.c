/*-------------------------------------------------------------------------
 *
 * currencies.c
 *	  The currencies of ISO 4217, and how many decimals their amounts have.
 *
 * Owns the list of codes, sorted: those in use, and those that amounts of the
 * past may have.  The invariant: a code, once listed, stays, since old deals
 * name it.  Must never guess the decimals of a code that is not listed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "funcapi.h"
#include "money/money.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(pipelines_minor_units);
PG_FUNCTION_INFO_V1(pipelines_currencies);

typedef struct Currency
{
	char		code[4];
	int			minor_units;
	bool		is_current;
	const char *name;
} Currency;

static const Currency currencies[] =
{
	{"AED", 2, true, "UAE dirham"},
	{"AFN", 2, true, "Afghani"},
	{"ALL", 2, true, "Lek"},
	{"AMD", 2, true, "Armenian dram"},
	{"ANG", 2, false, "Netherlands Antillean guilder"},
	{"AOA", 2, true, "Kwanza"},
	{"ARS", 2, true, "Argentine peso"},
	{"ATS", 2, false, "Schilling"},
	{"AUD", 2, true, "Australian dollar"},
	{"AWG", 2, true, "Aruban florin"},
	{"AZM", 2, false, "Azerbaijanian manat (until 2005)"},
	{"AZN", 2, true, "Azerbaijan manat"},
	{"BAM", 2, true, "Convertible mark"},
	{"BBD", 2, true, "Barbados dollar"},
	{"BDT", 2, true, "Taka"},
	{"BEF", 0, false, "Belgian franc"},
	{"BGN", 2, true, "Bulgarian lev"},
	{"BHD", 3, true, "Bahraini dinar"},
	{"BIF", 0, true, "Burundi franc"},
	{"BMD", 2, true, "Bermudian dollar"},
	{"BND", 2, true, "Brunei dollar"},
	{"BOB", 2, true, "Boliviano"},
	{"BOV", 2, true, "Mvdol"},
	{"BRL", 2, true, "Brazilian real"},
	{"BSD", 2, true, "Bahamian dollar"},
	{"BTN", 2, true, "Ngultrum"},
	{"BWP", 2, true, "Pula"},
	{"BYN", 2, true, "Belarusian ruble"},
	{"BYR", 0, false, "Belarusian ruble (until 2016)"},
	{"BZD", 2, true, "Belize dollar"},
	{"CAD", 2, true, "Canadian dollar"},
	{"CDF", 2, true, "Congolese franc"},
	{"CHE", 2, true, "WIR euro"},
	{"CHF", 2, true, "Swiss franc"},
	{"CHW", 2, true, "WIR franc"},
	{"CLF", 4, true, "Unidad de fomento"},
	{"CLP", 0, true, "Chilean peso"},
	{"CNY", 2, true, "Yuan renminbi"},
	{"COP", 2, true, "Colombian peso"},
	{"COU", 2, true, "Unidad de valor real"},
	{"CRC", 2, true, "Costa Rican colon"},
	{"CUC", 2, false, "Peso convertible"},
	{"CUP", 2, true, "Cuban peso"},
	{"CVE", 2, true, "Cabo Verde escudo"},
	{"CYP", 2, false, "Cyprus pound"},
	{"CZK", 2, true, "Czech koruna"},
	{"DEM", 2, false, "Deutsche mark"},
	{"DJF", 0, true, "Djibouti franc"},
	{"DKK", 2, true, "Danish krone"},
	{"DOP", 2, true, "Dominican peso"},
	{"DZD", 2, true, "Algerian dinar"},
	{"EEK", 2, false, "Kroon"},
	{"EGP", 2, true, "Egyptian pound"},
	{"ERN", 2, true, "Nakfa"},
	{"ESP", 0, false, "Spanish peseta"},
	{"ETB", 2, true, "Ethiopian birr"},
	{"EUR", 2, true, "Euro"},
	{"FIM", 2, false, "Markka"},
	{"FJD", 2, true, "Fiji dollar"},
	{"FKP", 2, true, "Falkland Islands pound"},
	{"FRF", 2, false, "French franc"},
	{"GBP", 2, true, "Pound sterling"},
	{"GEL", 2, true, "Lari"},
	{"GHC", 2, false, "Cedi (until 2007)"},
	{"GHS", 2, true, "Ghana cedi"},
	{"GIP", 2, true, "Gibraltar pound"},
	{"GMD", 2, true, "Dalasi"},
	{"GNF", 0, true, "Guinean franc"},
	{"GRD", 0, false, "Drachma"},
	{"GTQ", 2, true, "Quetzal"},
	{"GYD", 2, true, "Guyana dollar"},
	{"HKD", 2, true, "Hong Kong dollar"},
	{"HNL", 2, true, "Lempira"},
	{"HRK", 2, false, "Kuna"},
	{"HTG", 2, true, "Gourde"},
	{"HUF", 2, true, "Forint"},
	{"IDR", 2, true, "Rupiah"},
	{"IEP", 2, false, "Irish pound"},
	{"ILS", 2, true, "New Israeli sheqel"},
	{"INR", 2, true, "Indian rupee"},
	{"IQD", 3, true, "Iraqi dinar"},
	{"IRR", 2, true, "Iranian rial"},
	{"ISK", 0, true, "Iceland krona"},
	{"ITL", 0, false, "Italian lira"},
	{"JMD", 2, true, "Jamaican dollar"},
	{"JOD", 3, true, "Jordanian dinar"},
	{"JPY", 0, true, "Yen"},
	{"KES", 2, true, "Kenyan shilling"},
	{"KGS", 2, true, "Som"},
	{"KHR", 2, true, "Riel"},
	{"KMF", 0, true, "Comorian franc"},
	{"KPW", 2, true, "North Korean won"},
	{"KRW", 0, true, "Won"},
	{"KWD", 3, true, "Kuwaiti dinar"},
	{"KYD", 2, true, "Cayman Islands dollar"},
	{"KZT", 2, true, "Tenge"},
	{"LAK", 2, true, "Lao kip"},
	{"LBP", 2, true, "Lebanese pound"},
	{"LKR", 2, true, "Sri Lanka rupee"},
	{"LRD", 2, true, "Liberian dollar"},
	{"LSL", 2, true, "Loti"},
	{"LTL", 2, false, "Lithuanian litas"},
	{"LUF", 0, false, "Luxembourg franc"},
	{"LVL", 2, false, "Latvian lats"},
	{"LYD", 3, true, "Libyan dinar"},
	{"MAD", 2, true, "Moroccan dirham"},
	{"MDL", 2, true, "Moldovan leu"},
	{"MGA", 2, true, "Malagasy ariary"},
	{"MKD", 2, true, "Denar"},
	{"MMK", 2, true, "Kyat"},
	{"MNT", 2, true, "Tugrik"},
	{"MOP", 2, true, "Pataca"},
	{"MRO", 2, false, "Ouguiya (until 2017)"},
	{"MRU", 2, true, "Ouguiya"},
	{"MTL", 2, false, "Maltese lira"},
	{"MUR", 2, true, "Mauritius rupee"},
	{"MVR", 2, true, "Rufiyaa"},
	{"MWK", 2, true, "Malawi kwacha"},
	{"MXN", 2, true, "Mexican peso"},
	{"MXV", 2, true, "Mexican unidad de inversion"},
	{"MYR", 2, true, "Malaysian ringgit"},
	{"MZM", 2, false, "Mozambique metical (until 2006)"},
	{"MZN", 2, true, "Mozambique metical"},
	{"NAD", 2, true, "Namibia dollar"},
	{"NGN", 2, true, "Naira"},
	{"NIO", 2, true, "Cordoba oro"},
	{"NLG", 2, false, "Netherlands guilder"},
	{"NOK", 2, true, "Norwegian krone"},
	{"NPR", 2, true, "Nepalese rupee"},
	{"NZD", 2, true, "New Zealand dollar"},
	{"OMR", 3, true, "Rial Omani"},
	{"PAB", 2, true, "Balboa"},
	{"PEN", 2, true, "Sol"},
	{"PGK", 2, true, "Kina"},
	{"PHP", 2, true, "Philippine peso"},
	{"PKR", 2, true, "Pakistan rupee"},
	{"PLN", 2, true, "Zloty"},
	{"PTE", 0, false, "Portuguese escudo"},
	{"PYG", 0, true, "Guarani"},
	{"QAR", 2, true, "Qatari rial"},
	{"ROL", 2, false, "Leu (until 2005)"},
	{"RON", 2, true, "Romanian leu"},
	{"RSD", 2, true, "Serbian dinar"},
	{"RUB", 2, true, "Russian ruble"},
	{"RWF", 0, true, "Rwanda franc"},
	{"SAR", 2, true, "Saudi riyal"},
	{"SBD", 2, true, "Solomon Islands dollar"},
	{"SCR", 2, true, "Seychelles rupee"},
	{"SDG", 2, true, "Sudanese pound"},
	{"SEK", 2, true, "Swedish krona"},
	{"SGD", 2, true, "Singapore dollar"},
	{"SHP", 2, true, "Saint Helena pound"},
	{"SIT", 2, false, "Tolar"},
	{"SKK", 2, false, "Slovak koruna"},
	{"SLE", 2, true, "Leone"},
	{"SLL", 2, false, "Leone (until 2022)"},
	{"SOS", 2, true, "Somali shilling"},
	{"SRD", 2, true, "Surinam dollar"},
	{"SSP", 2, true, "South Sudanese pound"},
	{"STD", 2, false, "Dobra (until 2017)"},
	{"STN", 2, true, "Dobra"},
	{"SVC", 2, true, "El Salvador colon"},
	{"SYP", 2, true, "Syrian pound"},
	{"SZL", 2, true, "Lilangeni"},
	{"THB", 2, true, "Baht"},
	{"TJS", 2, true, "Somoni"},
	{"TMM", 2, false, "Turkmenistan manat (until 2009)"},
	{"TMT", 2, true, "Turkmenistan new manat"},
	{"TND", 3, true, "Tunisian dinar"},
	{"TOP", 2, true, "Pa'anga"},
	{"TRL", 0, false, "Turkish lira (until 2004)"},
	{"TRY", 2, true, "Turkish lira"},
	{"TTD", 2, true, "Trinidad and Tobago dollar"},
	{"TWD", 2, true, "New Taiwan dollar"},
	{"TZS", 2, true, "Tanzanian shilling"},
	{"UAH", 2, true, "Hryvnia"},
	{"UGX", 0, true, "Uganda shilling"},
	{"USD", 2, true, "US dollar"},
	{"USN", 2, true, "US dollar (next day)"},
	{"UYI", 0, true, "Uruguay peso en unidades indexadas"},
	{"UYU", 2, true, "Peso uruguayo"},
	{"UYW", 4, true, "Unidad previsional"},
	{"UZS", 2, true, "Uzbekistan sum"},
	{"VEB", 2, false, "Bolivar (until 2007)"},
	{"VED", 2, true, "Bolivar digital"},
	{"VEF", 2, false, "Bolivar (until 2018)"},
	{"VES", 2, true, "Bolivar soberano"},
	{"VND", 0, true, "Dong"},
	{"VUV", 0, true, "Vatu"},
	{"WST", 2, true, "Tala"},
	{"XAF", 0, true, "CFA franc BEAC"},
	{"XAG", NO_MINOR_UNITS, true, "Silver, troy ounce"},
	{"XAU", NO_MINOR_UNITS, true, "Gold, troy ounce"},
	{"XBA", NO_MINOR_UNITS, true, "Bond markets unit EURCO"},
	{"XBB", NO_MINOR_UNITS, true, "Bond markets unit EMU-6"},
	{"XBC", NO_MINOR_UNITS, true, "Bond markets unit EUA-9"},
	{"XBD", NO_MINOR_UNITS, true, "Bond markets unit EUA-17"},
	{"XCD", 2, true, "East Caribbean dollar"},
	{"XCG", 2, true, "Caribbean guilder"},
	{"XDR", NO_MINOR_UNITS, true, "Special drawing right"},
	{"XOF", 0, true, "CFA franc BCEAO"},
	{"XPD", NO_MINOR_UNITS, true, "Palladium, troy ounce"},
	{"XPF", 0, true, "CFP franc"},
	{"XPT", NO_MINOR_UNITS, true, "Platinum, troy ounce"},
	{"XSU", NO_MINOR_UNITS, true, "Sucre"},
	{"XUA", NO_MINOR_UNITS, true, "ADB unit of account"},
	{"YER", 2, true, "Yemeni rial"},
	{"ZAR", 2, true, "Rand"},
	{"ZMK", 2, false, "Zambian kwacha (until 2012)"},
	{"ZMW", 2, true, "Zambian kwacha"},
	{"ZWD", 2, false, "Zimbabwe dollar (until 2006)"},
	{"ZWG", 2, true, "Zimbabwe gold"},
	{"ZWL", 2, false, "Zimbabwe dollar (until 2024)"}
};

/* The decimals of a currency, NO_MINOR_UNITS where it has none. */
int
currency_minor_units(const text *currency)
{
	CurrencyCode code = currency_code(currency);
	int			low = 0;
	int			high = (int) lengthof(currencies) - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		const unsigned char *letters = (const unsigned char *) currencies[middle].code;
		CurrencyCode found = ((uint32) letters[0] << 16) | ((uint32) letters[1] << 8) | letters[2];

		if (found == code)
			return currencies[middle].minor_units;
		if (found < code)
			low = middle + 1;
		else
			high = middle - 1;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown currency \"%s\"", text_to_cstring(currency)),
			 errdetail("Currencies have a code of three upper-case letters in ISO 4217."),
			 errhint("The function pipelines.currencies() lists them.")));
	return NO_MINOR_UNITS;		/* keep the compiler quiet */
}

Datum
pipelines_minor_units(PG_FUNCTION_ARGS)
{
	int			result = currency_minor_units(PG_GETARG_TEXT_PP(0));

	if (result == NO_MINOR_UNITS)
		PG_RETURN_NULL();
	PG_RETURN_INT32(result);
}

Datum
pipelines_currencies(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	compat_materialize(fcinfo);
	for (i = 0; i < (int) lengthof(currencies); i++)
	{
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(currencies[i].code);
		values[1] = Int32GetDatum(currencies[i].minor_units);
		nulls[1] = currencies[i].minor_units == NO_MINOR_UNITS;
		values[2] = CStringGetTextDatum(currencies[i].name);
		values[3] = BoolGetDatum(currencies[i].is_current);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
